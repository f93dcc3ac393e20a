//! Decoders of pictures: LodePNG for PNG, libwebp for WebP.
//!
//! A picture is a file in the guest's directory. The output is its size and the SHA-256 of its
//! pixels, four bytes each, which any other decoder must reproduce.

use alloc::{format, string::String};
use core::fmt::Write;

use palimpsest_engine::Linker;
use palimpsest_wasi::{Output, Wasi};
use sha2::{Digest, Sha256};

use super::{Library, ProgramError, conclude, load};
use crate::{
    run::{Ended, Guest, Measured, RunError},
    world::{self, StandardOutput, Waiting},
};

/// The bytes of a pixel: red, green, blue, alpha.
const PIXEL_BYTES: usize = 4;

/// Decodes the picture that the request names.
pub(crate) fn lodepng(guest: Guest<'_>, measured: &mut Measured) -> Result<Ended, RunError> {
    run(guest, measured, decode_png)
}

/// Decodes the picture that the request names.
pub(crate) fn webp(guest: Guest<'_>, measured: &mut Measured) -> Result<Ended, RunError> {
    run(guest, measured, decode_webp)
}

/// A picture in the library's memory.
struct Picture {
    width: u32,
    height: u32,
    /// The address of the pixels.
    pixels: u32,
}

/// Decodes the file at an address with a length.
type Decode = fn(&mut Library<Wasi>, u32, u32) -> Result<Picture, ProgramError>;

fn run(guest: Guest<'_>, measured: &mut Measured, decode: Decode) -> Result<Ended, RunError> {
    let (name, file) = match requested(guest) {
        Ok(requested) => requested,
        Err(error) => return conclude(Err(error)),
    };
    let time = world::start_clock();
    let wasi = world::of(guest, time, Waiting::Pause, &measured.output)?;
    let mut linker = Linker::new();
    palimpsest_wasi::add_to_linker(&mut linker, |wasi| wasi)?;
    let module = load(guest, guest.config()?)?;
    let mut library = Library::start(guest, &module, &linker, time, wasi, measured)?;
    let described = describe(&mut library, file, decode).map(|text| {
        let mut output = StandardOutput::new(guest.machine, &measured.output);
        output.write(format!("{name}: {text}\n").as_bytes());
    });
    library.conclude(measured);
    conclude(described)
}

/// Returns the name and the content of the picture that the request names.
fn requested(guest: Guest<'_>) -> Result<(&str, &'static [u8]), ProgramError> {
    let [name] = guest.request.arguments.as_slice() else {
        let usage = "name one picture, a file of the directory given with --dir";
        return Err(ProgramError::Reported(usage.into()));
    };
    let missing = || ProgramError::Reported(format!("{name}: no such file in the directory"));
    let file = guest.machine.guest_file(name).ok_or_else(missing)?;
    Ok((name, file))
}

/// Returns the line of output for the picture in `file`.
fn describe(library: &mut Library<Wasi>, file: &[u8], decode: Decode) -> Result<String, ProgramError> {
    let length = u32::try_from(file.len()).expect("the boot archive is below 4 GiB");
    let input = library.call("malloc", &[length])?;
    library.write(input, file)?;
    let Picture { width, height, pixels } = decode(library, input, length)?;
    // Width and height are the guest's. A product that is too large is out of bounds.
    let bytes = (width as usize).saturating_mul(height as usize).saturating_mul(PIXEL_BYTES);
    let mut text = format!("{width} x {height} pixels, SHA-256 ");
    for byte in Sha256::digest(library.read(pixels, bytes)?) {
        write!(text, "{byte:02x}").expect("writing to a `String` never fails");
    }
    for block in [input, pixels] {
        library.call("free", &[block])?;
    }
    Ok(text)
}

/// `unsigned lodepng_decode32(unsigned char** out, unsigned* w, unsigned* h, const unsigned char*
/// in, size_t)`.
fn decode_png(library: &mut Library<Wasi>, input: u32, length: u32) -> Result<Picture, ProgramError> {
    let places = library.call("malloc", &[12])?;
    let [width, height] = [4, 8].map(|offset| places.wrapping_add(offset));
    let status = library.call("lodepng_decode32", &[places, width, height, input, length])?;
    if status != 0 {
        return Err(ProgramError::Reported(format!("not a PNG: LodePNG returned error {status}")));
    }
    let pixels = library.word(places)?;
    let width = library.word(width)?;
    let height = library.word(height)?;
    library.call("free", &[places])?;
    Ok(Picture { width, height, pixels })
}

/// `uint8_t* WebPDecodeRGBA(const uint8_t* data, size_t data_size, int* width, int* height)`.
fn decode_webp(library: &mut Library<Wasi>, input: u32, length: u32) -> Result<Picture, ProgramError> {
    let places = library.call("malloc", &[8])?;
    let height = places.wrapping_add(4);
    let pixels = library.call("WebPDecodeRGBA", &[input, length, places, height])?;
    if pixels == 0 {
        return Err(ProgramError::Reported("not a WebP that libwebp can decode".into()));
    }
    let width = library.word(places)?;
    let height = library.word(height)?;
    library.call("free", &[places])?;
    Ok(Picture { width, height, pixels })
}
