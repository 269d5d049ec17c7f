//! Graphs: jobs that depend on each other, enqueued together.

use std::collections::{BTreeMap, HashMap, VecDeque};

use sqlx::{Connection, PgConnection};

use crate::QueueError;
use crate::enqueue::{NewDependency, NewJob, enqueue_many, insert_dependencies};
use crate::ids::JobId;

/// The numbers of a graph's jobs, by their names in it.
pub type GraphIds = BTreeMap<String, JobId>;

/// Jobs, named only here, and which of them wait for which.
///
/// An edge leads from a job to one that waits for it. What becomes of that one if the first is
/// discarded or cancelled, it says itself: [`NewJob::after_if_failed`]. It may also wait for jobs
/// outside of the graph, and be in a batch.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    jobs: Vec<(String, NewJob)>,
    edges: Vec<(String, String)>,
}

/// The reason that a graph was not enqueued.
#[derive(Debug, thiserror::Error)]
pub enum GraphError {
    /// An edge names a job that is not in the graph.
    #[error("the edge from {from} to {to} names a job that the graph does not have: {missing}")]
    NoSuchJob {
        /// The job at the beginning of the edge.
        from: String,
        /// The job at its end.
        to: String,
        /// The one of them that is missing.
        missing: String,
    },
    /// Two jobs have the same name.
    #[error("two jobs of the graph are named {0}")]
    NamedTwice(String),
    /// The same edge twice, which is probably meant to be another one.
    #[error("the edge from {0} to {1} is there twice")]
    EdgeTwice(String, String),
    /// Jobs that wait for each other in a circle would wait for ever.
    #[error("the jobs wait for each other in a circle: {}", .0.join(" → "))]
    Cycle(Vec<String>),
    /// A unique job may be there already, and does not wait for anything new.
    #[error("the job {0} is unique, which jobs of a graph cannot be")]
    Unique(String),
    /// The jobs could not be enqueued.
    #[error(transparent)]
    Queue(#[from] QueueError),
}

impl Graph {
    /// A graph without jobs.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a job under a name of its own.
    #[must_use]
    pub fn job(mut self, name: impl Into<String>, job: NewJob) -> Self {
        self.jobs.push((name.into(), job));
        self
    }

    /// `to` waits for `from`.
    #[must_use]
    pub fn edge(mut self, from: impl Into<String>, to: impl Into<String>) -> Self {
        self.edges.push((from.into(), to.into()));
        self
    }

    /// Enqueues all jobs in the caller's transaction. Those that wait for none may run once it is
    /// committed.
    ///
    /// # Errors
    ///
    /// [`GraphError`]; then nothing is enqueued.
    pub async fn enqueue(self, conn: &mut PgConnection) -> Result<GraphIds, GraphError> {
        let parents = self.parents()?;
        let order = self.sorted(&parents)?;
        let jobs: Vec<NewJob> = order
            .iter()
            .map(|&position| {
                let mut job = self.jobs[position].1.clone();
                job.extras.held |= !parents[position].is_empty();
                job
            })
            .collect();

        // A transaction also when the caller has none: a job that is held for nothing is released.
        let mut tx = conn.begin().await.map_err(QueueError::from)?;
        // Numbers ascend in the order in which the jobs are given: so parents have lower ones.
        let enqueued = enqueue_many(&mut tx, &jobs).await?;
        let ids: HashMap<usize, JobId> =
            order.iter().zip(&enqueued).map(|(&position, job)| (position, job.id())).collect();
        let edges: Vec<NewDependency> = order
            .iter()
            .flat_map(|&position| {
                let if_failed = self.jobs[position].1.if_failed;
                let (job, ids) = (ids[&position], &ids);
                parents[position].iter().map(move |parent| NewDependency {
                    job,
                    depends_on: ids[parent],
                    if_failed,
                })
            })
            .collect();
        insert_dependencies(&mut tx, &edges).await?;
        tx.commit().await.map_err(QueueError::from)?;
        let named = self.jobs.into_iter().enumerate();
        Ok(named.map(|(position, (name, _job))| (name, ids[&position])).collect())
    }

    /// Of each job the positions of those that it waits for.
    fn parents(&self) -> Result<Vec<Vec<usize>>, GraphError> {
        let mut positions = HashMap::new();
        for (position, (name, job)) in self.jobs.iter().enumerate() {
            if positions.insert(name.as_str(), position).is_some() {
                return Err(GraphError::NamedTwice(name.clone()));
            }
            if job.unique.is_some() {
                return Err(GraphError::Unique(name.clone()));
            }
        }
        let mut parents = vec![Vec::new(); self.jobs.len()];
        for (from, to) in &self.edges {
            let find = |name: &String| {
                positions.get(name.as_str()).copied().ok_or_else(|| GraphError::NoSuchJob {
                    from: from.clone(),
                    to: to.clone(),
                    missing: name.clone(),
                })
            };
            let (parent, child) = (find(from)?, find(to)?);
            if parents[child].contains(&parent) {
                return Err(GraphError::EdgeTwice(from.clone(), to.clone()));
            }
            parents[child].push(parent);
        }
        Ok(parents)
    }

    /// All positions, each after those that it waits for; as given where that leaves a choice.
    fn sorted(&self, parents: &[Vec<usize>]) -> Result<Vec<usize>, GraphError> {
        let mut children = vec![Vec::new(); parents.len()];
        for (child, parents) in parents.iter().enumerate() {
            parents.iter().for_each(|&parent| children[parent].push(child));
        }
        let mut missing: Vec<usize> = parents.iter().map(Vec::len).collect();
        let mut free: VecDeque<usize> =
            (0..parents.len()).filter(|&position| missing[position] == 0).collect();
        let mut order = Vec::with_capacity(parents.len());
        while let Some(position) = free.pop_front() {
            order.push(position);
            for &child in &children[position] {
                missing[child] -= 1;
                if missing[child] == 0 {
                    free.push_back(child);
                }
            }
        }
        if order.len() == parents.len() { Ok(order) } else { Err(self.cycle(parents, &missing)) }
    }

    /// A circle among the jobs that have parents `missing`: each of them has one that does, too, so
    /// whoever goes from parent to parent comes back.
    fn cycle(&self, parents: &[Vec<usize>], missing: &[usize]) -> GraphError {
        let mut path: Vec<usize> = Vec::new();
        let mut next = (0..parents.len()).find(|&position| missing[position] > 0);
        while let Some(position) = next {
            if let Some(begin) = path.iter().position(|&earlier| earlier == position) {
                path.drain(..begin);
                break;
            }
            path.push(position);
            next = parents[position].iter().copied().find(|&parent| missing[parent] > 0);
        }
        // Found against the direction of the edges.
        path.extend(path.first().copied());
        let names = path.into_iter().rev().map(|position| self.jobs[position].0.clone());
        GraphError::Cycle(names.collect())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn graph(names: &[&str], edges: &[(&str, &str)]) -> Graph {
        let graph = names
            .iter()
            .fold(Graph::new(), |graph, name| graph.job(*name, NewJob::raw("step", json!({}))));
        edges.iter().fold(graph, |graph, (from, to)| graph.edge(*from, *to))
    }

    fn order(graph: &Graph) -> Result<Vec<&str>, String> {
        let parents = graph.parents().map_err(|error| error.to_string())?;
        let sorted = graph.sorted(&parents).map_err(|error| error.to_string())?;
        Ok(sorted.into_iter().map(|position| graph.jobs[position].0.as_str()).collect())
    }

    #[test]
    fn jobs_come_after_those_that_they_wait_for() {
        let diamond = [("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")];
        assert_eq!(order(&graph(&["d", "c", "b", "a"], &diamond)).unwrap(), ["a", "c", "b", "d"]);
        assert_eq!(order(&graph(&["x", "y"], &[])).unwrap(), ["x", "y"]);
        assert!(order(&graph(&[], &[])).unwrap().is_empty());
    }

    #[test]
    fn a_cycle_is_told_in_the_direction_of_its_edges() {
        let edges = [("a", "b"), ("b", "c"), ("c", "d"), ("d", "b"), ("d", "e")];
        let error = order(&graph(&["a", "b", "c", "d", "e"], &edges)).unwrap_err();
        assert_eq!(error, "the jobs wait for each other in a circle: b → c → d → b");
        let error = order(&graph(&["a"], &[("a", "a")])).unwrap_err();
        assert_eq!(error, "the jobs wait for each other in a circle: a → a");
    }

    #[test]
    fn unknown_names_and_doubles_are_told() {
        let unknown = order(&graph(&["a"], &[("a", "z")])).unwrap_err();
        assert_eq!(unknown, "the edge from a to z names a job that the graph does not have: z");
        let named_twice = order(&graph(&["a", "b", "a"], &[])).unwrap_err();
        assert_eq!(named_twice, "two jobs of the graph are named a");
        let edge_twice = order(&graph(&["a", "b"], &[("a", "b"), ("a", "b")])).unwrap_err();
        assert_eq!(edge_twice, "the edge from a to b is there twice");
    }
}
