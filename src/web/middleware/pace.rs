//! Times what a client sends and takes: a body must come whole within a time and not too slowly, an answer is handed
//! over in pieces so that it is seen whether anyone takes them. See [`crate::web::connections`].

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::error::PayloadError;
use actix_web::http::header;
use actix_web::middleware::Next;
use actix_web::web::Bytes;
use actix_web::{Error, HttpMessage as _, web};
use futures_util::Stream;
use tokio::time::{Instant, Sleep, sleep_until};

use super::rates::class_of;
use crate::domain::rate::RateClass;
use crate::web::connections::{Connection, Patience, Request};
use crate::web::state::State;

/// Bytes of a piece of an answer: few enough that a slow line takes one in time.
const PIECE_BYTES: usize = 64 * 1024;

/// The middleware; see [`actix_web::middleware::from_fn`].
pub async fn pace<B: MessageBody + 'static>(mut request: ServiceRequest, next: Next<B>) -> Result<ServiceResponse<BoxBody>, Error> {
    if !request.headers().contains_key(header::UPGRADE)
        && let Some(state) = request.app_data::<web::Data<State>>()
    {
        let patience = state.settings.patience;
        let is_upload = class_of(request.method(), request.path()) == Some(RateClass::Upload);
        let whole = if is_upload { patience.upload } else { patience.body };
        let payload = Paced::new(request.take_payload(), whole, patience);
        request.set_payload(Payload::Stream {
            payload: Box::pin(payload),
        });
    }
    let at_work = request
        .conn_data::<Arc<Connection>>()
        .map(|connection| Arc::clone(connection).begin());
    let response = next.call(request).await?;
    Ok(response.map_body(|_, body| {
        BoxBody::new(Answer {
            body: body.boxed(),
            rest: Bytes::new(),
            at_work,
        })
    }))
}

/// A body with deadlines. One that misses them fails as timed out.
struct Paced {
    payload: Payload,
    patience: Patience,
    whole: Duration,
    began: Option<Instant>,
    bytes: u64,
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Paced {
    fn new(payload: Payload, whole: Duration, patience: Patience) -> Self {
        Self {
            payload,
            patience,
            whole,
            began: None,
            bytes: 0,
            alarm: None,
        }
    }

    /// How long after the beginning the next bytes may come.
    fn allowed(&self) -> Duration {
        let by_rate = Duration::from_millis(self.bytes.saturating_mul(1_000) / self.patience.body_rate.max(1));
        (self.patience.body_begins + by_rate).min(self.whole)
    }
}

impl Stream for Paced {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let began = *self.began.get_or_insert_with(Instant::now);
        let until = began + self.allowed();
        if Instant::now() > until {
            return Poll::Ready(Some(Err(too_late())));
        }
        if let Poll::Ready(item) = Pin::new(&mut self.payload).poll_next(cx) {
            if let Some(Ok(bytes)) = &item {
                self.bytes = self.bytes.saturating_add(bytes.len() as u64);
                self.alarm = None;
            }
            return Poll::Ready(item);
        }
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(until)));
        match alarm.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Some(Err(too_late()))),
            Poll::Pending => Poll::Pending,
        }
    }
}

fn too_late() -> PayloadError {
    PayloadError::Io(io::ErrorKind::TimedOut.into())
}

/// An answer's body, handed over piece by piece.
struct Answer {
    body: BoxBody,
    /// Of what the body gave, what was not handed over yet.
    rest: Bytes,
    at_work: Option<Request>,
}

impl MessageBody for Answer {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        if let Some(at_work) = &self.at_work {
            at_work.asked();
        }
        if self.rest.is_empty() {
            match Pin::new(&mut self.body).poll_next(cx) {
                Poll::Ready(Some(Ok(bytes))) => self.rest = bytes,
                other => return other,
            }
        }
        let piece = self.rest.len().min(PIECE_BYTES);
        let piece = self.rest.split_to(piece);
        if let Some(at_work) = &self.at_work {
            at_work.handed_over();
        }
        Poll::Ready(Some(Ok(piece)))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt as _, stream};

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A body that may take 50 ms to begin with, 1 s in all, and is to come at 1000 bytes a second.
    fn paced(items: impl Stream<Item = Result<Bytes, PayloadError>> + 'static) -> Paced {
        let payload = Payload::Stream {
            payload: items.boxed_local(),
        };
        let patience = Patience {
            body_begins: 50 * MS,
            body_rate: 1_000,
            ..Patience::default()
        };
        Paced::new(payload, 500 * MS, patience)
    }

    /// So many bytes every 2 ms, without an end.
    fn every_2_ms(bytes: usize) -> impl Stream<Item = Result<Bytes, PayloadError>> {
        stream::unfold(tokio::time::interval(2 * MS), move |mut ticks| async move {
            ticks.tick().await;
            Some((Ok(Bytes::from(vec![b'x'; bytes])), ticks))
        })
    }

    async fn given_up_after(mut paced: Paced) -> Duration {
        let began = Instant::now();
        loop {
            match paced.next().await {
                Some(Ok(_)) => {}
                Some(Err(PayloadError::Io(error))) => {
                    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
                    return began.elapsed();
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn a_body_that_stops_or_drips_is_given_up_before_one_that_only_takes_too_long() {
        assert!(given_up_after(paced(stream::pending())).await >= 50 * MS);
        let dripping = given_up_after(paced(every_2_ms(1))).await;
        assert!(dripping >= 50 * MS && dripping < 500 * MS, "{dripping:?}");
        assert!(given_up_after(paced(every_2_ms(10))).await >= 500 * MS);
    }

    #[tokio::test]
    async fn a_body_that_comes_is_passed_on_whole() {
        let mut body = paced(every_2_ms(500).take(5));
        let mut bytes = 0;
        while let Some(piece) = body.next().await {
            bytes += piece.unwrap().len();
        }
        assert_eq!(bytes, 2_500);
    }
}
