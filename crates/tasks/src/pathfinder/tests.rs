//! That pictures are what the parameters and the class say, from the strokes and from the pixels.

use super::geometry::PIXEL;
use super::*;

/// Squared distance of two strokes at their ends and on the way between them, in steps of 1/16.
fn distance2(a: &Stroke, b: &Stroke) -> i64 {
    let points = |stroke: &Stroke| {
        let Stroke { start, end } = *stroke;
        (0..=16).map(move |step| Point {
            x: start.x + (end.x - start.x) * step / 16,
            y: start.y + (end.y - start.y) * step / 16,
        })
    };
    points(a).flat_map(|p| points(b).map(move |q| p.distance2(q))).min().unwrap()
}

/// The root of a union-find tree.
fn root(parents: &mut [usize], mut node: usize) -> usize {
    while parents[node] != node {
        parents[node] = parents[parents[node]];
        node = parents[node];
    }
    node
}

/// The class by union-find over all strokes: those within the gap of a snake are one.
fn connected(task: &Pathfinder, picture: &Picture) -> bool {
    let strokes: Vec<Stroke> = picture.snakes.iter().flatten().copied().collect();
    // Directions are rounded to whole units.
    let gap = 2 * task.margin as i64 * (PIXEL + 1);
    let mut parents: Vec<usize> = (0..strokes.len()).collect();
    for (i, a) in strokes.iter().enumerate() {
        for (j, b) in strokes.iter().enumerate().skip(i + 1) {
            if distance2(a, b) <= gap * gap {
                let (a, b) = (root(&mut parents, i), root(&mut parents, j));
                parents[a] = b;
            }
        }
    }
    let [first, last] = picture.markers.map(|marker| {
        let marked = strokes.iter().position(|stroke| stroke.start == marker || stroke.end == marker).unwrap();
        root(&mut parents, marked)
    });
    first == last
}

/// Name, task, and number of pictures to look at: the large ones take tens of milliseconds each.
fn presets() -> [(&'static str, Pathfinder, u64); 3] {
    [("short", Pathfinder::short(), 100), ("default", Pathfinder::default(), 100), ("path_x", Pathfinder::path_x(), 20)]
}

#[test]
fn strokes_and_pixels_say_the_class() {
    for (name, task, pictures) in presets() {
        let mut positives = 0;
        for seed in 0..pictures {
            let picture = task.picture(seed).unwrap();
            assert_eq!(connected(&task, &picture), picture.connected, "{name}, seed {seed}");
            let tokens: Vec<u32> = picture.pixels.iter().copied().map(u32::from).collect();
            assert_eq!(task.solve(&tokens), Some(picture.connected.into()), "{name}, seed {seed}");
            positives += u64::from(picture.connected);
        }
        assert!((pictures / 4..3 * pictures / 4).contains(&positives), "{name}: {positives}");
    }
}

#[test]
fn snakes_have_their_strokes_and_gaps() {
    for (name, task, pictures) in presets() {
        let mut distractors = 0;
        for seed in 0..pictures / 2 {
            let picture = task.picture(seed).unwrap();
            let lengths: Vec<usize> = picture.snakes.iter().map(Vec::len).collect();
            assert_eq!(lengths[..2], [task.strokes; 2]);
            assert!(lengths[2..].iter().all(|&length| length == task.distractor_strokes));
            distractors += lengths.len() - 2;
            let gap = 2 * task.margin as i64 * PIXEL;
            for pair in picture.snakes.iter().flat_map(|snake| snake.windows(2)) {
                // A right angle between two strokes shortens the gap between their ends by the root of two.
                let gap2 = pair[0].end.distance2(pair[1].start);
                let rounding = 8 * gap * task.margin as i64;
                assert!((gap * gap / 2 - rounding..=gap * gap + rounding).contains(&gap2), "{name}: {gap2}");
            }
        }
        // Many distractors find room: about half at 32 × 32, nearly all at 128 × 128.
        assert!(10 * distractors as u64 > 3 * pictures / 2 * task.distractors as u64, "{name}: {distractors}");
    }
}

#[test]
fn grey_values_are_dark_stroke_or_marker() {
    let task = Pathfinder::default();
    for seed in 0..20 {
        let picture = task.picture(seed).unwrap();
        let count = |grey: u8| picture.pixels.iter().filter(|&&pixel| pixel == grey).count();
        assert!(count(0) > 512 && count(191) > 20, "{} {}", count(0), count(191));
        // Two disks of radius 1.5.
        assert!((4..=18).contains(&count(WHITE)), "{}", count(WHITE));
        let border = (0..32).flat_map(|i| [i, 31 * 32 + i, 32 * i, 32 * i + 31]);
        assert!(border.into_iter().all(|pixel| picture.pixels[pixel] == 0));
    }
}

/// With all pixels lit the markers are joined, with nothing but the markers they are not.
#[test]
fn the_solver_follows_the_path() {
    let task = Pathfinder::default();
    let seed = (0..).find(|&seed| task.picture(seed).unwrap().connected).unwrap();
    let tokens = task.sample(seed).unwrap().tokens;
    let all_lit: Vec<u32> = tokens.iter().map(|&token| token.max(1)).collect();
    assert_eq!(task.solve(&all_lit), Some(1));
    let only_markers: Vec<u32> = tokens.iter().map(|&token| if token == 255 { 255 } else { 0 }).collect();
    assert_eq!(task.solve(&only_markers), Some(0));
    assert_eq!(task.solve(&tokens[1..]), None);
    assert_eq!(task.solve(&vec![0; 1024]), None);
}

/// Does not change from version to version or from machine to machine.
#[test]
fn a_seed_gives_the_same_picture_everywhere() {
    let picture = Pathfinder::default().picture(1).unwrap();
    let checksum = picture.pixels.iter().fold(0_u32, |sum, &grey| sum.wrapping_mul(31).wrapping_add(grey.into()));
    assert_eq!(checksum, 349_548_545);
}

#[test]
fn impossible_parameters_are_named() {
    let error = |task: Pathfinder| task.picture(0).unwrap_err().to_string();
    let task = Pathfinder::default();
    assert!(error(Pathfinder { contrast: 1.0, ..task.clone() }).contains("contrast = 1"));
    assert!(error(Pathfinder { continuity: f64::NAN, ..task.clone() }).contains("continuity = NaN"));
    assert!(error(Pathfinder { seed_distance: 17, ..task.clone() }).contains("1..=16"));
    assert!(error(Pathfinder { size: 0, ..task.clone() }).contains("size = 0"));
    assert!(error(Pathfinder { size: 8, seed_distance: 2, ..task }).contains("no sample in"));
}
