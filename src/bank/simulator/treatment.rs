//! The treatment of an instruction by the simulator.

use std::io;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use hyper::StatusCode;
use rust_decimal::Decimal;
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::behaviour::{Behaviour, ResolvedBehaviour};
use super::books::{Books, PaymentDecision, PaymentRecord};
use crate::bank::wire::{Answer, PaymentRequest};
use crate::bank::{BankInstruction, EffectKey};

/// The time after which a client is disconnected that gets no answer and does not hang up.
const SILENCE: Duration = Duration::from_secs(600);

/// The bank, shared by all connections.
#[derive(Debug)]
pub(super) struct SimulatorState {
    pub(super) seed: u64,
    pub(super) behaviour: Mutex<ResolvedBehaviour>,
    pub(super) books: Mutex<Books>,
    pub(super) shutdown: CancellationToken,
}

/// The treatment of an instruction.
pub(super) struct Treatment {
    /// `None` for a payment that was decided before.
    pub(super) behaviour: Option<Behaviour>,
    pub(super) after: Duration,
    pub(super) say: Reply,
}

pub(super) enum Reply {
    Nothing,
    /// Another payment has the key.
    Conflict,
    Answer(StatusCode, Answer),
}

impl SimulatorState {
    /// Decides on an instruction, unless that was done before.
    pub(super) fn react(&self, instruction: &BankInstruction) -> io::Result<Treatment> {
        let now = OffsetDateTime::now_utc();
        let settings = self.behaviour().clone();
        let mut books = self.books();
        let send = books.count_send(&instruction.effect_key);
        let mut rng = rng(self.seed, &instruction.effect_key, send);
        let behaviour = settings.behaviour(rng.f64());
        let latency = settings.latency(rng.f64());

        if let Some(known) = books.find(&instruction.effect_key) {
            let say = if known.request == PaymentRequest::from(instruction) {
                let answer = known.answer(now);
                Reply::Answer(status_of_repetition(&answer), answer)
            } else {
                Reply::Conflict
            };
            return Ok(Treatment { behaviour: None, after: latency, say });
        }
        let late_after = settings.late_after(rng.f64());
        let (decision, delay) = match behaviour {
            Behaviour::Timeout | Behaviour::Unavailable => (None, Duration::ZERO),
            Behaviour::InsufficientFunds => (Some(declined("insufficient-funds")), Duration::ZERO),
            Behaviour::Late if rng.bool() => (Some(booked()), late_after),
            Behaviour::Late => (Some(declined("account-closed")), late_after),
            Behaviour::Success
            | Behaviour::AcceptThenTimeout
            | Behaviour::AnswerTwice
            | Behaviour::CutBody
            | Behaviour::WrongAmount => (Some(booked()), Duration::ZERO),
        };
        let effect_key = instruction.effect_key.clone();
        let truth = match decision {
            None => Answer::NotAccepted { effect_key },
            Some(decision) => {
                let request = PaymentRequest::from(instruction);
                let entry =
                    PaymentRecord { effect_key, request, decision, decided_at: now + delay };
                let truth = entry.answer(entry.decided_at);
                books.enter(entry)?;
                truth
            }
        };
        let (after, say) = match behaviour {
            Behaviour::Timeout | Behaviour::AcceptThenTimeout => (SILENCE, Reply::Nothing),
            Behaviour::WrongAmount => {
                (latency, Reply::Answer(StatusCode::CREATED, with_wrong_amount(truth, instruction)))
            }
            Behaviour::Success
            | Behaviour::Unavailable
            | Behaviour::InsufficientFunds
            | Behaviour::AnswerTwice
            | Behaviour::Late
            | Behaviour::CutBody => {
                (latency + delay, Reply::Answer(status_of_decision(&truth), truth))
            }
        };
        Ok(Treatment { behaviour: Some(behaviour), after, say })
    }

    pub(super) fn behaviour(&self) -> MutexGuard<'_, ResolvedBehaviour> {
        lock(&self.behaviour)
    }

    pub(super) fn books(&self) -> MutexGuard<'_, Books> {
        lock(&self.books)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nothing panics while it holds this")
}

/// Chance that follows from nothing but these.
fn rng(seed: u64, effect_key: &EffectKey, send: u32) -> fastrand::Rng {
    let hash = Sha256::new()
        .chain_update(seed.to_be_bytes())
        .chain_update(send.to_be_bytes())
        .chain_update(effect_key.as_str())
        .finalize();
    let first = hash.first_chunk().expect("a hash has 32 bytes");
    fastrand::Rng::with_seed(u64::from_be_bytes(*first))
}

fn booked() -> PaymentDecision {
    PaymentDecision::Booked { bank_reference: format!("bnk_{}", Uuid::now_v7().simple()) }
}

fn declined(reason: &str) -> PaymentDecision {
    PaymentDecision::Declined { reason: reason.to_owned() }
}

fn status_of_decision(answer: &Answer) -> StatusCode {
    if let Answer::Booked(_) = answer { StatusCode::CREATED } else { status_of_repetition(answer) }
}

fn status_of_repetition(answer: &Answer) -> StatusCode {
    match answer {
        Answer::Booked(_) => StatusCode::OK,
        Answer::Declined { .. } => StatusCode::PAYMENT_REQUIRED,
        Answer::Pending { .. } => StatusCode::ACCEPTED,
        Answer::Unknown { .. } => StatusCode::NOT_FOUND,
        Answer::NotAccepted { .. } => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// One smallest unit more than was booked: what is easily overlooked.
fn with_wrong_amount(mut answer: Answer, instruction: &BankInstruction) -> Answer {
    if let Answer::Booked(booking) = &mut answer {
        let money = instruction.money;
        let mut amount = money.amount().as_decimal() + Decimal::new(1, money.currency().decimals());
        amount.rescale(money.currency().decimals());
        booking.amount = amount.to_string();
    }
    answer
}
