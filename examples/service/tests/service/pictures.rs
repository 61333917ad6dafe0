//! Pictures that are as they should be, and pictures that are not.

use std::io::{Cursor, Write as _};

use flate2::Compression;
use flate2::write::ZlibEncoder;
use image::{DynamicImage, ImageFormat};
use png::{BitDepth, ColorType, Encoder};

/// A picture with a gradient, 240 by 120.
fn gradient() -> DynamicImage {
    let pixel = |x, y| image::Rgb([x as u8, y as u8, (x ^ y) as u8]);
    image::RgbImage::from_fn(240, 120, pixel).into()
}

pub(crate) fn png() -> Vec<u8> {
    encoded(ImageFormat::Png)
}

pub(crate) fn jpeg() -> Vec<u8> {
    encoded(ImageFormat::Jpeg)
}

/// Its lines are columns, as cameras say it that are held upright.
pub(crate) fn turned_jpeg() -> Vec<u8> {
    // A TIFF directory with a single entry: the orientation (0x112), a short (3), once, of the value 6.
    let exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let length = (exif.len() as u16 + 2).to_be_bytes();
    let jpeg = jpeg();
    [&jpeg[..2], b"\xFF\xE1", &length, exif, &jpeg[2..]].concat()
}

/// Cut off, and with a segment in which the mark of an end is.
pub(crate) fn cut_off_jpeg_with_ends() -> Vec<u8> {
    let jpeg = jpeg();
    let (start, rest) = jpeg.split_at(2);
    let segment = b"\xFF\xE5\x00\x06\xFF\xD9\xFF\xD9";
    [start, segment, &rest[..rest.len() / 2]].concat()
}

fn encoded(format: ImageFormat) -> Vec<u8> {
    let mut bytes = Vec::new();
    gradient()
        .write_to(&mut Cursor::new(&mut bytes), format)
        .unwrap();
    bytes
}

/// The first half of a file.
pub(crate) fn cut_off(picture: Vec<u8>) -> Vec<u8> {
    picture[..picture.len() / 2].to_vec()
}

/// Black, as many pixels as it says, and small as a file. Decoding it takes time.
pub(crate) fn black(side: u32) -> Vec<u8> {
    claiming(
        side,
        ColorType::Grayscale,
        zeros((side as usize + 1) * side as usize),
    )
}

/// Says that it has 30 000 by 30 000 pixels, and has none.
pub(crate) fn liar() -> Vec<u8> {
    claiming(30_000, ColorType::Rgb, zeros(1_000))
}

/// Has a single pixel, and 300 MB of data for it.
pub(crate) fn inflating_pixels() -> Vec<u8> {
    claiming(1, ColorType::Rgb, zeros(300_000_000))
}

/// Has a colour profile of 300 MB.
pub(crate) fn inflating_profile() -> Vec<u8> {
    let profile = [b"bomb\0\0".as_slice(), &zeros(300_000_000)].concat();
    with_chunks(
        1,
        ColorType::Rgb,
        &[(png::chunk::iCCP, profile), (png::chunk::IDAT, zeros(4))],
    )
}

fn claiming(side: u32, color: ColorType, data: Vec<u8>) -> Vec<u8> {
    with_chunks(side, color, &[(png::chunk::IDAT, data)])
}

fn with_chunks(
    side: u32,
    color: ColorType,
    chunks: &[(png::chunk::ChunkType, Vec<u8>)],
) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, side, side);
    encoder.set_color(color);
    encoder.set_depth(BitDepth::Eight);
    let mut writer = encoder.write_header().unwrap();
    for (name, data) in chunks {
        writer.write_chunk(*name, data).unwrap();
    }
    // Adds the end, and does not mind that the data were not its own.
    drop(writer);
    bytes
}

/// So many zeros, compressed.
fn zeros(count: usize) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    let piece = vec![0; 1 << 16];
    for begin in (0..count).step_by(piece.len()) {
        encoder
            .write_all(&piece[..piece.len().min(count - begin)])
            .unwrap();
    }
    encoder.finish().unwrap()
}
