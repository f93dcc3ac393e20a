//! An ordinary guest in Rust, with the standard library and its allocator.

use std::collections::BTreeMap;

/// Returns how often the most frequent word occurs in a text of `words` words.
#[unsafe(no_mangle)]
pub extern "C" fn most_frequent(words: u32) -> u32 {
    let text = (0..words).map(|index| format!("word{}", index * index % 7)).collect::<Vec<_>>().join(" ");
    let mut counts = BTreeMap::new();
    for word in text.split(' ') {
        *counts.entry(word.to_owned()).or_insert(0_u32) += 1;
    }
    counts.into_values().max().unwrap_or(0)
}
