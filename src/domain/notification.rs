//! What people are told, and where alerts go beside the station.

use super::failure::codes;

codes! {
    /// How grave a notification is.
    Tone {
        Ok = "ok",
        Info = "info",
        /// Somebody is waited for.
        Wait = "wait",
        Fail = "fail",
    }
}

codes! {
    /// What kind of place alerts go to.
    ChannelKind {
        /// A letter.
        Mail = "mail",
        /// A POST of what Slack, Mattermost and the like take.
        Slack = "slack",
        /// A POST of an event with a signature.
        Webhook = "webhook",
    }
}

/// Of a notification's title, in bytes.
pub const TITLE_BYTES_MAX: usize = 200;
/// Of a notification's text, in bytes.
pub const BODY_BYTES_MAX: usize = 2_000;
/// Of an organization.
pub const CHANNELS_MAX: u32 = 20;
/// Unread notifications that are counted; where there are more, the count says "99+".
pub const UNREAD_MAX: u32 = 100;
