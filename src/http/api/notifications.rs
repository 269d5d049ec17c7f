//! Users' wishes for mail.

use poem_openapi::param::Path;
use poem_openapi::{ApiResponse, Object, OpenApi};
use serde::Serialize;
use sqlx::PgPool;
use uuid::Uuid;

use super::ApiTags;
use crate::http::edge::caller::{self, Caller};
use crate::http::edge::database::within_seconds;
use crate::http::wire::id::Id;
use crate::http::wire::json_body::{self, JsonBody, json_object};
use crate::http::wire::payload::Json;
use crate::http::wire::problem::{Code, Problem};
use crate::http::wire::refused::{Refusals, Refused};
use crate::ids::UserId;
use crate::operations::notifications::{self, Preferences};

/// The API of users' wishes for mail.
#[derive(Clone)]
pub struct NotificationsApi {
    /// The database of the wishes.
    pub pool: PgPool,
}

#[OpenApi]
impl NotificationsApi {
    /// Get the notification settings of a user
    ///
    /// Users see their own; viewers and above see everybody's.
    #[oai(
        path = "/v1/users/:user_id/notifications",
        method = "get",
        operation_id = "get_notifications",
        tag = "ApiTags::Users"
    )]
    async fn get_notifications(
        &self,
        caller: Caller,
        /// The user's id.
        user_id: Path<Id<Uuid>>,
    ) -> Result<Settings, Refused<GetNotifications>> {
        let id = UserId(user_id.0.0);
        if !caller.may_read(id) {
            return Err(Problem::new(Code::UserNotFound).into());
        }
        let found =
            within_seconds(&self.pool, async |conn| Ok(notifications::find(conn, id).await?));
        Ok(Settings::Ok(Json(found.await?.into())))
    }

    /// Change the notification settings of a user
    ///
    /// Each user their own. Mails that are still to be sent go by the new settings, too.
    #[oai(
        path = "/v1/users/:user_id/notifications",
        method = "put",
        operation_id = "change_notifications",
        tag = "ApiTags::Users"
    )]
    async fn change_notifications(
        &self,
        caller: Caller,
        /// The user's id.
        user_id: Path<Id<Uuid>>,
        body: JsonBody<NotificationsIn>,
    ) -> Result<Settings, Refused<ChangeNotifications>> {
        let id = UserId(user_id.0.0);
        if !caller.may_read(id) {
            return Err(Problem::new(Code::UserNotFound).into());
        }
        if caller.user != Some(id) {
            return Err(Problem::new(Code::Forbidden).into());
        }
        let wanted = body.read()?;

        let by = caller.into();
        let changed = within_seconds(&self.pool, async |conn| {
            Ok(notifications::change(conn, id, wanted, &by).await?)
        });
        Ok(Settings::Ok(Json(changed.await?.into())))
    }
}

json_object! {
    /// The notification settings from now on.
    struct NotificationsIn {
        /// True for mail about the outcomes of the user's transactions and orders, and about the
        /// user's endpoints.
        email_notifications: bool,
    }

    fn value(fields) -> Preferences {
        Some(Preferences { email_notifications: email_notifications? })
    }
}

/// The notification settings of a user.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "Notifications")]
struct NotificationsOut {
    /// True, as for all who have said nothing, when the user gets mail about the outcomes of
    /// transactions and orders, and about endpoints.
    email_notifications: bool,
}

impl From<Preferences> for NotificationsOut {
    fn from(preferences: Preferences) -> Self {
        Self { email_notifications: preferences.email_notifications }
    }
}

#[derive(ApiResponse)]
enum Settings {
    /// The settings.
    #[oai(status = 200)]
    Ok(Json<NotificationsOut>),
}

/// The refusals of `get_notifications`.
#[derive(Debug)]
struct GetNotifications;

impl Refusals for GetNotifications {
    const CODES: &'static [&'static [Code]] =
        &[caller::REFUSALS, &[Code::InvalidParameter, Code::UserNotFound]];
}

/// The refusals of `change_notifications`.
#[derive(Debug)]
struct ChangeNotifications;

impl Refusals for ChangeNotifications {
    const CODES: &'static [&'static [Code]] = &[
        caller::REFUSALS,
        json_body::REFUSALS,
        &[Code::InvalidParameter, Code::Forbidden, Code::UserNotFound],
    ];
}
