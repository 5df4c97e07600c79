//! Writes a contact sheet of Pathfinder pictures as a PGM file: connected ones above, others below.
//!
//! `cargo run -p headwise-tasks --example pathfinder -- OUT.pgm [short|default|path_x]`

use std::error::Error;

use headwise_tasks::Pathfinder;

/// Pictures per row, and rows per class.
const COLUMNS: usize = 8;
const ROWS: usize = 2;
/// Grey between pictures.
const FRAME: u8 = 64;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: pathfinder OUT.pgm [short|default|path_x]")?;
    let task = match arguments.next().as_deref() {
        None | Some("default") => Pathfinder::default(),
        Some("short") => Pathfinder::short(),
        Some("path_x") => Pathfinder::path_x(),
        Some(other) => return Err(format!("unknown preset `{other}`; there are short, default and path_x").into()),
    };

    let mut classes = [Vec::new(), Vec::new()];
    for seed in 0.. {
        if classes.iter().all(|pictures| pictures.len() >= COLUMNS * ROWS) {
            break;
        }
        let picture = task.picture(seed)?;
        classes[usize::from(!picture.connected)].push(picture.pixels);
    }
    let cell = task.size + 1;
    let (width, height) = (COLUMNS * cell + 1, 2 * ROWS * cell + 1);
    let mut sheet = vec![FRAME; width * height];
    let pictures = classes.iter().flat_map(|pictures| &pictures[..COLUMNS * ROWS]);
    for (number, picture) in pictures.enumerate() {
        for (row, pixels) in picture.chunks(task.size).enumerate() {
            let start = (number / COLUMNS * cell + 1 + row) * width + number % COLUMNS * cell + 1;
            sheet[start..start + task.size].copy_from_slice(pixels);
        }
    }
    let mut file = format!("P5\n{width} {height}\n255\n").into_bytes();
    file.extend(sheet);
    std::fs::write(path, file)?;
    Ok(())
}
