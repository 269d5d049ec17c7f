//! Measurements in turns: round by round, in each every subject, in each every condition.

use super::conditions::{Condition, ConditionArgs};
use super::figures::Figure;
use super::scratch::{Database, Server};

/// All measurements of a command.
#[derive(Debug)]
pub(crate) struct Rounds<S, M> {
    runs: Vec<Run<S, M>>,
}

#[derive(Debug)]
struct Run<S, M> {
    round: u32,
    subject: S,
    condition: Condition,
    measured: M,
}

impl<S: Copy + PartialEq, M> Rounds<S, M> {
    /// Measures all that was asked for, each time in a database of its own.
    pub(crate) async fn measure(
        rounds: u32,
        subjects: &[S],
        conditions: &ConditionArgs,
        server: &Server,
        describe: impl Fn(S) -> String,
        measure: impl AsyncFn(&Database<'_>, S, Condition) -> anyhow::Result<M>,
    ) -> anyhow::Result<Self> {
        let mut runs = Vec::new();
        for round in 0..rounds {
            for &subject in subjects {
                for condition in conditions.of_round(round) {
                    let (what, under) = (describe(subject), conditions.describe(condition));
                    eprintln!("round {} of {rounds}: {what}, {under}", round + 1);
                    let database = conditions.database(server, condition).await?;
                    let measured = measure(&database, subject, condition).await?;
                    runs.push(Run { round, subject, condition, measured });
                    database.end().await?;
                }
            }
        }
        Ok(Self { runs })
    }

    /// Each subject under each condition that was measured, the undisturbed one first, with its
    /// measurements.
    pub(crate) fn all(&self) -> Vec<(S, Condition, Vec<&M>)> {
        let mut all: Vec<(S, Condition, Vec<&M>)> = Vec::new();
        for run in &self.runs {
            let known = all.iter_mut().find(|(subject, condition, _)| {
                (*subject, *condition) == (run.subject, run.condition)
            });
            match known {
                Some((_, _, measured)) => measured.push(&run.measured),
                None => all.push((run.subject, run.condition, vec![&run.measured])),
            }
        }
        let first_of = |subject: S| self.runs.iter().position(|run| run.subject == subject);
        all.sort_by_key(|&(subject, condition, _)| {
            (first_of(subject), condition == Condition::Disturbed)
        });
        all
    }

    /// A figure of the disturbed measurement over that of the undisturbed one of the same round.
    /// None for the undisturbed ones, and where only one was measured.
    pub(crate) fn ratio(
        &self,
        subject: S,
        condition: Condition,
        figure: impl Fn(&M) -> Option<f64>,
    ) -> Option<Figure> {
        if condition == Condition::Undisturbed {
            return None;
        }
        let of = |round: u32, condition: Condition| {
            let run = self
                .runs
                .iter()
                .find(|run| (run.round, run.subject, run.condition) == (round, subject, condition));
            figure(&run?.measured)
        };
        let rounds = self
            .runs
            .iter()
            .filter(|run| (run.subject, run.condition) == (subject, Condition::Undisturbed));
        Figure::of(rounds.filter_map(|run| {
            let undisturbed = of(run.round, Condition::Undisturbed)?;
            Some(of(run.round, Condition::Disturbed)? / undisturbed)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_within_a_round() {
        let run = |round, condition, measured| Run { round, subject: 'a', condition, measured };
        let runs = [(0, 10.0, 5.0), (1, 100.0, 90.0)].map(|(round, undisturbed, disturbed)| {
            [
                run(round, Condition::Disturbed, disturbed),
                run(round, Condition::Undisturbed, undisturbed),
            ]
        });
        let rounds = Rounds { runs: runs.into_iter().flatten().collect() };
        let ratio = |condition| rounds.ratio('a', condition, |measured| Some(*measured));
        let expected = Figure { median: 0.7, min: 0.5, max: 0.9 };
        assert_eq!(ratio(Condition::Disturbed), Some(expected));
        assert_eq!(ratio(Condition::Undisturbed), None);
        let all = rounds.all();
        assert_eq!(all[0], ('a', Condition::Undisturbed, vec![&10.0, &100.0]));
        assert_eq!(all[1], ('a', Condition::Disturbed, vec![&5.0, &90.0]));
    }
}
