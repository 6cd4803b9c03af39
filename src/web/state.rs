//! What every worker shares.

use std::sync::Arc;

use super::connections::Connections;
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
    pub connections: Connections,
}

impl State {
    pub fn new(app: App, settings: Settings) -> Self {
        let settings = Arc::new(settings);
        Self {
            app,
            limits: Arc::new(Limits::new(&settings.rates)),
            sockets: Sockets::default(),
            connections: Connections::new(Arc::clone(&settings)),
            settings,
        }
    }
}
