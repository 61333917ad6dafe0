//! `POST /thumbnail?width=…&height=…`: a picture becomes one that fits into so many pixels.
//!
//! Whoever sends a picture chooses what the decoder does, and it may do so in bad faith. So it is decoded in a worker
//! process, with a limit of its memory and its time: what a picture can cost is one request.

use std::io::Cursor;
use std::sync::Arc;

use anyhow::Context as _;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use concurrent_futures::{Blob, Executor as _, ProcessPoolExecutor, TaskError, TaskOptions};
use image::{DynamicImage, ImageDecoder as _, ImageError, ImageFormat, ImageReader, Limits};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use crate::arguments::Arguments;
use crate::failure::Failure;
use crate::service::Service;

/// The largest width and height of a thumbnail, in pixels.
const LARGEST_SIDE: u32 = 4096;

/// Where thumbnails are made, and within which limits.
pub(crate) struct Thumbnails {
    pool: ProcessPoolExecutor,
    options: TaskOptions,
    limits: PictureLimits,
    largest_body: usize,
}

/// Into how many pixels a thumbnail has to fit.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Size {
    width: u32,
    height: u32,
}

/// What a picture may take.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct PictureLimits {
    /// The most pixels of width and of height.
    side: u32,
    /// The most bytes that decoding may take. Not all is counted, in contrast to the limit of the worker.
    memory: u64,
}

/// A picture that was made smaller.
#[derive(Serialize, Deserialize)]
struct Thumbnail {
    content_type: String,
    bytes: Blob,
}

/// Why a picture cannot be made smaller.
#[derive(Serialize, Deserialize)]
enum Unfit {
    Unknown,
    TooLarge,
    Broken(String),
}

/// The handler.
pub(crate) async fn post(
    State(service): State<Arc<Service>>,
    size: Result<Query<Size>, QueryRejection>,
    request: Request,
) -> Result<Response, Failure> {
    let size = Size::asked_for(size)?;
    let Thumbnails {
        pool,
        options,
        limits,
        largest_body,
    } = &service.thumbnails;
    let body = service.bodies.receive(request, *largest_body, pool).await?;
    let task = pool
        .try_reserve()?
        .with(options.clone())
        .submit(shrink, (Blob::from(body.bytes), size, *limits))
        // If the client goes away, the handler is dropped, and the worker with it.
        .abort_on_drop();
    // The pool has a copy of the picture now, and its own limit of such.
    drop(body.memory);
    let thumbnail = task.await.map_err(Failure::of_picture)??;
    let content_type = [(header::CONTENT_TYPE, thumbnail.content_type)];
    Ok((content_type, Body::from(thumbnail.bytes.into_bytes())).into_response())
}

/// Runs in a worker process. What it logs is in the span of the request, in the log of the service.
fn shrink(picture: Blob, size: Size, limits: PictureLimits) -> Result<Thumbnail, Unfit> {
    let mut reader = ImageReader::new(Cursor::new(&picture[..]))
        .with_guessed_format()
        .map_err(|error| Unfit::Broken(error.to_string()))?;
    let format = match reader.format() {
        Some(format @ (ImageFormat::Png | ImageFormat::Jpeg)) => format,
        _ => return Err(Unfit::Unknown),
    };
    if format == ImageFormat::Jpeg && !is_whole(&picture) {
        return Err(Unfit::Broken("unexpected end of file".to_owned()));
    }
    reader.limits(limits.into());
    let mut decoder = reader.into_decoder()?;
    let (width, height) = decoder.dimensions();
    info!(?format, width, height, "decoding");
    Limits::from(limits).reserve(decoder.total_bytes())?;
    let orientation = decoder.orientation()?;
    let picture = DynamicImage::from_decoder(decoder)?;

    // In the orientation of the file, which is not always that of the picture.
    let turned = matches!(orientation.to_exif(), 5..=8);
    let (most_width, most_height) = match turned {
        true => (size.height, size.width),
        false => (size.width, size.height),
    };
    let mut thumbnail = match width <= most_width && height <= most_height {
        true => picture,
        false => picture.thumbnail(most_width, most_height),
    };
    thumbnail.apply_orientation(orientation);

    let mut bytes = Vec::new();
    thumbnail.write_to(&mut Cursor::new(&mut bytes), format)?;
    info!(
        width = thumbnail.width(),
        height = thumbnail.height(),
        bytes = bytes.len(),
        "shrunk"
    );
    Ok(Thumbnail {
        content_type: format.to_mime_type().to_owned(),
        bytes: bytes.into(),
    })
}

/// Whether a jpeg file goes on to the mark of its end; of what it lacks the decoder makes grey. Anything may follow.
fn is_whole(jpeg: &[u8]) -> bool {
    let is_mark =
        |bytes: &[u8]| bytes[0] == 0xFF && !matches!(bytes[1], 0x00 | 0x01 | 0xD0..=0xD8 | 0xFF);
    let mut rest = jpeg;
    while let Some(place) = rest.windows(2).position(is_mark) {
        let (mark, segment) = (rest[place + 1], &rest[place + 2..]);
        if mark == 0xD9 {
            return true;
        }
        // Its length comes first, and counts itself. The data of a scan follow it, and have no marks.
        rest = match segment {
            [high, low, ..] => segment.get(u16::from_be_bytes([*high, *low]).into()..),
            _ => None,
        }
        .unwrap_or_default();
    }
    false
}

impl Thumbnails {
    /// Makes the pool, and starts its workers: one that cannot begin is noticed now.
    pub(crate) async fn start(arguments: &Arguments) -> anyhow::Result<Self> {
        let memory = arguments.thumbnail.memory.as_u64();
        let pool = ProcessPoolExecutor::builder()
            .name("thumbnail")
            .metrics("thumbnail")
            .max_workers(arguments.thumbnail.workers())
            .queue_limit(arguments.thumbnail.queue.into())
            .memory_limit(memory)
            .nice(arguments.nice)
            // What decoders print, and the texts of panics, belong into the log.
            .capture_output(true)
            // A picture that is larger than memory is no reason to log a backtrace.
            .env("RUST_BACKTRACE", "0")
            .build()
            .context("the pool of worker processes")?;
        pool.warm_up()
            .await
            .context("the worker processes cannot start")?;
        Ok(Self {
            pool,
            options: TaskOptions::new()
                .name("thumbnail")
                .queue_timeout(arguments.queue_timeout)
                .run_timeout(arguments.thumbnail.timeout)
                // A thumbnail may be made twice; that a worker is lost need not be the picture's fault.
                .retries(1),
            limits: PictureLimits {
                side: arguments.thumbnail.picture_side,
                // The rest is for the worker itself and for the thumbnail.
                memory: memory / 4 * 3,
            },
            largest_body: arguments.thumbnail.picture_size.as_u64() as usize,
        })
    }

    /// The pool itself, to look at and to shut down.
    pub(crate) fn pool(&self) -> &ProcessPoolExecutor {
        &self.pool
    }
}

impl Size {
    fn asked_for(size: Result<Query<Self>, QueryRejection>) -> Result<Self, Failure> {
        let Query(size) = size.map_err(|rejection| {
            Failure::bad_request(format!(
                "give ?width=W&height=H in pixels: {}",
                rejection.body_text()
            ))
        })?;
        let sides = 1..=LARGEST_SIDE;
        if sides.contains(&size.width) && sides.contains(&size.height) {
            return Ok(size);
        }
        Err(Failure::bad_request(format!(
            "width and height have to be from 1 to {LARGEST_SIDE}"
        )))
    }
}

impl From<PictureLimits> for Limits {
    fn from(limits: PictureLimits) -> Self {
        let mut all = Self::default();
        all.max_image_width = Some(limits.side);
        all.max_image_height = Some(limits.side);
        all.max_alloc = Some(limits.memory);
        all
    }
}

impl From<ImageError> for Unfit {
    fn from(error: ImageError) -> Self {
        match error {
            ImageError::Limits(_) => Self::TooLarge,
            error => Self::Broken(error.to_string()),
        }
    }
}

impl From<Unfit> for Failure {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::Unknown => Self::unprocessable("neither a png nor a jpeg picture"),
            Unfit::TooLarge => Self::unprocessable("the picture is too large"),
            Unfit::Broken(text) => {
                Self::unprocessable(format!("the picture cannot be read: {text}"))
            }
        }
    }
}

impl Failure {
    /// The answer to a picture whose task failed. Some failures are the picture's fault.
    fn of_picture(error: TaskError) -> Self {
        if error.is_out_of_memory_likely() {
            warn!("a picture took more memory than a worker may have");
            return Self::unprocessable("the picture is too large");
        }
        if error.is_panicked() {
            warn!(
                error = format!("{error:#}"),
                "a picture made its decoder panic"
            );
            return Self::unprocessable("the picture cannot be read");
        }
        error.into()
    }
}
