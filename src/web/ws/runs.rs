//! `/ws/runs/{id}?after=SEQ`: a run's timeline over a socket. The server speaks; all a client says is that it is there.
//!
//! Each socket is one task that sends at its reader's pace. A reader too slow for it is hung up on and comes back for the
//! rest by number: it never holds up the run or anyone else.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use actix_ws::{CloseCode, CloseReason, Message as Frame, MessageStream, Session};
use serde::Deserialize;
use tokio::time::{Instant, interval, timeout};

use super::Seat;
use crate::domain::error::ErrorCode;
use crate::web::api::Segments;
use crate::web::api::stream::too_many;
use crate::web::extract::paging::Query;
use crate::web::extract::{Authorized, may};
use crate::web::problem::Problem;
use crate::web::proof::Proof;
use crate::web::state::State;
use crate::web::watch::{Message, Watch};

/// Bytes of a client's frame.
const FRAME_BYTES_MAX: usize = 4 * 1024;
/// Frames of a client in a minute.
const FRAMES_PER_MINUTE: u32 = 100;
const PING_EVERY: Duration = Duration::from_secs(20);
/// A client that has not answered a ping for so long is gone.
const PONG_WITHIN: Duration = Duration::from_mins(1);
/// A frame that cannot be handed over for so long means that the reader is too slow.
const SEND_WITHIN: Duration = Duration::from_secs(10);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct After {
    #[serde(default)]
    after: u64,
}

/// `GET /ws/runs/{run}`
pub async fn open(
    auth: Authorized<may::RunsRead>,
    state: web::Data<State>,
    segments: Segments,
    query: Query<After>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    check_origin(&request, &state, auth.known.session.is_some())?;
    let run = segments.run()?;
    let watch = Watch::open(state.app.clone(), Arc::clone(&auth.known.actor), run, query.0.after).await?;
    let seat = state.sockets.take(auth.actor().principal).ok_or_else(too_many)?;
    let (response, session, stream) =
        actix_ws::handle(&request, payload).map_err(|_| Problem::new(ErrorCode::BadRequest, "This address speaks WebSocket."))?;
    let socket = Socket {
        session,
        watch,
        proof: Some(Proof::of(&request, &state.app.auth, auth.actor().org)),
        state,
        _seat: seat,
    };
    actix_web::rt::spawn(socket.run(stream.max_frame_size(FRAME_BYTES_MAX)));
    Ok(response)
}

/// Browsers let any page open a socket to us, with our cookie: only our own pages may.
fn check_origin(request: &HttpRequest, state: &State, has_session: bool) -> Result<(), Problem> {
    let text = |name: header::HeaderName| request.headers().get(name).and_then(|value| value.to_str().ok());
    let own = match text(header::ORIGIN) {
        Some(origin) => state.settings.is_own_origin(origin, text(header::HOST).unwrap_or_default()),
        None => !has_session,
    };
    if own {
        Ok(())
    } else {
        Err(Problem::new(
            ErrorCode::CrossSite,
            "This socket was opened by a page of another site.",
        ))
    }
}

struct Socket {
    session: Session,
    watch: Watch,
    /// Until the socket serves.
    proof: Option<Proof>,
    state: web::Data<State>,
    _seat: Seat,
}

/// Why a socket ends.
enum Ending {
    /// With a word to the client.
    Close(CloseCode, String),
    /// The client is gone.
    Gone,
}

impl Socket {
    async fn run(mut self, stream: MessageStream) {
        let ending = self.serve(stream).await;
        if let Ending::Close(code, description) = ending {
            let reason = CloseReason {
                code,
                description: Some(description),
            };
            // Whoever does not take even this is simply dropped.
            _ = timeout(SEND_WITHIN, self.session.close(Some(reason))).await;
        }
    }

    async fn serve(&mut self, mut stream: MessageStream) -> Ending {
        let stopping = self.state.app.supervisor.stopping().clone();
        let mut ping = interval(PING_EVERY);
        let mut proof = self.proof.take();
        let mut ended = std::pin::pin!(async {
            if let Some(proof) = &mut proof {
                proof.ended().await;
            }
        });
        let mut heard = Instant::now();
        let mut frames = 0_u32;
        let mut minute = Instant::now();
        loop {
            tokio::select! {
                biased;
                () = stopping.cancelled() => return self.resume(CloseCode::Away, "the station stops"),
                frame = stream.recv() => {
                    if minute.elapsed() > Duration::from_mins(1) {
                        (minute, frames) = (Instant::now(), 0);
                    }
                    frames += 1;
                    if frames > FRAMES_PER_MINUTE {
                        return Ending::Close(CloseCode::Policy, "too many messages".to_owned());
                    }
                    heard = Instant::now();
                    match frame {
                        Some(Ok(Frame::Ping(bytes))) => {
                            if let Some(ending) = sent(timeout(SEND_WITHIN, self.session.pong(&bytes)).await) {
                                return ending;
                            }
                        }
                        Some(Ok(Frame::Pong(_) | Frame::Nop)) => {}
                        Some(Ok(Frame::Text(_) | Frame::Binary(_) | Frame::Continuation(_))) => {
                            return Ending::Close(CloseCode::Policy, "this socket only listens".to_owned());
                        }
                        Some(Ok(Frame::Close(_)) | Err(_)) | None => return Ending::Gone,
                    }
                }
                _ = ping.tick() => {
                    if heard.elapsed() > PONG_WITHIN {
                        return Ending::Gone;
                    }
                    if let Some(ending) = sent(timeout(SEND_WITHIN, self.session.ping(b"")).await) {
                        return ending;
                    }
                }
                () = &mut ended => return Ending::Close(CloseCode::Policy, "your access has ended".to_owned()),
                message = self.watch.next() => {
                    let message = match message {
                        Ok(Some(Message::End) | None) => return Ending::Close(CloseCode::Normal, "the run has ended".to_owned()),
                        Ok(Some(message)) => message,
                        Err(error) => {
                            tracing::warn!(%error, "a socket could not read on");
                            return self.resume(CloseCode::Again, "the station could not read on");
                        }
                    };
                    let text = serde_json::to_string(&message).unwrap_or_default();
                    match timeout(SEND_WITHIN, self.session.text(text)).await {
                        Ok(Ok(())) => {}
                        Ok(Err(_)) => return Ending::Gone,
                        Err(_) => return self.resume(CloseCode::Again, "you read too slowly"),
                    }
                }
            }
        }
    }

    /// An end after which the client is to come back.
    fn resume(&self, code: CloseCode, why: &str) -> Ending {
        Ending::Close(code, format!("{why}; go on after {}", self.watch.after()))
    }
}

/// How a socket ends where a control frame could not be sent.
fn sent<E>(outcome: Result<Result<(), E>, tokio::time::error::Elapsed>) -> Option<Ending> {
    match outcome {
        Ok(Ok(())) => None,
        Ok(Err(_)) | Err(_) => Some(Ending::Gone),
    }
}
