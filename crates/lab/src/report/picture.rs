//! Small pictures inside a page, as PNG.
//!
//! Written here, without compression: the pictures have a few hundred pixels. PNG is ISO/IEC 15948, its stream RFC 1950 and 1951.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::escape;

/// Bytes of a stored block at most.
const BLOCK: usize = 0xffff;

/// A square picture of `size` × `size` pixels, red, green and blue row by row, as an image with the text alternative `alt`.
pub fn picture(pixels: &[u8], size: usize, alt: &str) -> String {
    let alt = escape(alt);
    let data = BASE64_STANDARD.encode(png(pixels, size));
    format!("<img src=\"data:image/png;base64,{data}\" width=\"48\" height=\"48\" alt=\"{alt}\" title=\"{alt}\">")
}

/// The bytes of a PNG file.
fn png(pixels: &[u8], size: usize) -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    let side = (size as u32).to_be_bytes();
    // Eight bits, red, green and blue, nothing unusual.
    chunk(&mut file, b"IHDR", &[&side[..], &side, &[8, 2, 0, 0, 0]].concat());
    // Every row begins with its filter: none.
    let rows: Vec<u8> = pixels.chunks(3 * size).flat_map(|row| std::iter::once(0).chain(row.iter().copied())).collect();
    chunk(&mut file, b"IDAT", &stored(&rows));
    chunk(&mut file, b"IEND", &[]);
    file
}

fn chunk(file: &mut Vec<u8>, name: &[u8; 4], data: &[u8]) {
    file.extend((data.len() as u32).to_be_bytes());
    let body = [name, data].concat();
    file.extend(&body);
    file.extend(crc32(&body).to_be_bytes());
}

/// `data` as a zlib stream of stored blocks.
fn stored(data: &[u8]) -> Vec<u8> {
    let mut stream = vec![0x78, 0x01];
    let blocks = data.chunks(BLOCK).count();
    for (number, block) in data.chunks(BLOCK).enumerate() {
        let length = block.len() as u16;
        stream.push(u8::from(number + 1 == blocks));
        stream.extend(length.to_le_bytes());
        stream.extend((!length).to_le_bytes());
        stream.extend(block);
    }
    stream.extend(adler32(data).to_be_bytes());
    stream
}

fn adler32(data: &[u8]) -> u32 {
    let (a, b) = data.iter().fold((1u32, 0u32), |(a, b), &byte| {
        let a = (a + u32::from(byte)) % 65521;
        (a, (b + a) % 65521)
    });
    b << 16 | a
}

fn crc32(data: &[u8]) -> u32 {
    !data.iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check values of both sums, from their definitions.
    #[test]
    fn checksums_are_the_published_ones() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b"IEND"), 0xae42_6082);
        assert_eq!(adler32(b"Wikipedia"), 0x11e6_0398);
    }

    #[test]
    fn the_file_has_its_parts_and_every_pixel() {
        let pixels: Vec<u8> = (0..12).collect();
        let file = png(&pixels, 2);
        // A signature; a header of 13 bytes; two rows of 7 in a stored block; the end. Each part has 12 bytes around it.
        assert_eq!(file.len(), 8 + (12 + 13) + (12 + 2 + 5 + 14 + 4) + 12);
        let data = 8 + 25 + 8 + 2 + 5;
        assert_eq!(file[data..data + 14], [0, 0, 1, 2, 3, 4, 5, 0, 6, 7, 8, 9, 10, 11]);
    }
}
