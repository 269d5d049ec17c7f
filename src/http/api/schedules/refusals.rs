//! The refusals of the operations on schedules.

use crate::http::edge::caller;
use crate::http::wire::json_body;
use crate::http::wire::problem::Code;
use crate::http::wire::refused::Refusals;

/// The refusals of `list_schedules`.
#[derive(Debug)]
pub(super) struct ListSchedules;

impl Refusals for ListSchedules {
    const CODES: &'static [&'static [Code]] =
        &[caller::REFUSALS, &[Code::InvalidParameter, Code::InvalidCursor, Code::Forbidden]];
}

/// The refusals of `get_schedule`.
#[derive(Debug)]
pub(super) struct GetSchedule;

impl Refusals for GetSchedule {
    const CODES: &'static [&'static [Code]] =
        &[caller::REFUSALS, &[Code::InvalidParameter, Code::Forbidden, Code::ScheduleNotFound]];
}

/// The refusals of operations that change one schedule.
#[derive(Debug)]
pub(super) struct ChangeSchedule;

impl Refusals for ChangeSchedule {
    const CODES: &'static [&'static [Code]] = &[
        caller::REFUSALS,
        json_body::REFUSALS,
        &[
            Code::InvalidParameter,
            Code::Forbidden,
            Code::ScheduleNotFound,
            Code::SchedulePaused,
            Code::ScheduleNotPaused,
        ],
    ];
}

/// The refusals of `run_schedule`.
#[derive(Debug)]
pub(super) struct RunSchedule;

impl Refusals for RunSchedule {
    const CODES: &'static [&'static [Code]] = &[
        caller::REFUSALS,
        json_body::REFUSALS,
        &[Code::InvalidParameter, Code::Forbidden, Code::ScheduleNotFound],
    ];
}
