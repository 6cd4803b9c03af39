//! What every worker shares.

use std::sync::Arc;

use super::middleware::rates::Limits;
use super::settings::Settings;
use super::ws::Sockets;
use crate::services::App;

/// The web layer's state; clones share it.
#[derive(Clone)]
pub struct State {
    pub app: App,
    pub settings: Arc<Settings>,
    pub limits: Arc<Limits>,
    pub sockets: Sockets,
}

impl State {
    pub fn new(app: App, settings: Settings) -> Self {
        Self {
            app,
            limits: Arc::new(Limits::new(settings.rates)),
            settings: Arc::new(settings),
            sockets: Sockets::default(),
        }
    }
}
