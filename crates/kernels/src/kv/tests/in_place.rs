//! Appending writes where the pairs are: nothing that is there moves, unless it is shared.

use super::*;

/// Where the pages are.
fn addresses(store: &KeyValues) -> Vec<*const Page> {
    store.pages.iter().map(Arc::as_ptr).collect()
}

#[test]
fn appends_move_no_page() {
    let pairs = draw(200, 40, 24);
    for codec in Codec::ALL {
        let mut store = KeyValues::new(codec, 40, 24);
        let mut before = Vec::new();
        for (position, (key, value)) in pairs.iter().enumerate() {
            store.append(key, value, position as i32);
            let now = addresses(&store);
            assert_eq!(now.len(), (position + 1).div_ceil(PAGE), "{codec} {position}");
            assert_eq!(now[..before.len()], before, "{codec} {position}");
            before = now;
        }
    }
}

#[test]
fn a_fork_copies_the_page_it_writes_and_no_other() {
    let pairs = draw(81, 40, 24);
    // KIVI writes a page once more when it codes it, which 81 slots are too few for.
    for codec in Codec::ALL {
        let mut store = store(codec, &pairs[..80]);
        let first = addresses(&store);
        let fork = store.clone();
        store.append(&pairs[80].0, &pairs[80].1, 1000);
        let second = addresses(&store);
        assert_eq!((addresses(&fork), &second[..2]), (first.clone(), &first[..2]), "{codec}");
        assert_ne!(second[2], first[2], "{codec}: the fork still reads the last page");
        store.append(&pairs[0].0, &pairs[0].1, 1001);
        assert_eq!(addresses(&store), second, "{codec}: the copy is its own");
    }
}
