//! Owns: the fixed vocabulary of ProsQA: names, invented concepts, and function words.
//! Must not know: graphs, tokenizers.
//! Invariant: no word occurs twice. The order must never change, since token ids follow from it.

/// Returns all words, in the order of their token ids.
pub(super) fn all_words() -> impl Iterator<Item = &'static str> {
    FUNCTION_WORDS.into_iter().chain(NAMES).chain(CONCEPTS)
}

/// Words that turn labels into statements and questions.
const FUNCTION_WORDS: [&str; 5] = ["Every", "is", "a", "Is", "or"];

pub(super) const NAMES: [&str; 32] = [
    "Alex", "Bob", "Carol", "Davis", "Eva", "Fae", "Gabriel", "Jack", "Max", "Oliver", "Polly", "Rex", "Sally", "Sam",
    "Stella", "Tom", "Wren", "Ada", "Bruno", "Clara", "Dora", "Emil", "Frida", "Hugo", "Ines", "Jonas", "Karl", "Lena",
    "Mina", "Nils", "Otto", "Rosa",
];

pub(super) const CONCEPTS: [&str; 60] = [
    "bompus", "boompus", "brimpus", "chorpus", "dumpus", "felpus", "fompus", "gerpus", "gorpus", "grimpus", "gwompus",
    "hilpus", "impus", "jelpus", "jompus", "kerpus", "lempus", "lorpus", "numpus", "quimpus", "rempus", "rompus",
    "rorpus", "scrompus", "shumpus", "sterpus", "storpus", "terpus", "timpus", "tumpus", "vumpus", "worpus", "wumpus",
    "yerpus", "yimpus", "yumpus", "zhorpus", "zumpus", "blorpus", "clumpus", "dalpus", "drimpus", "flempus", "glorpus",
    "hompus", "kilpus", "krempus", "melpus", "morpus", "nerpus", "plimpus", "prompus", "skelpus", "slumpus", "snorpus",
    "thimpus", "trelpus", "twumpus", "valpus", "welpus",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_occurs_twice() {
        let mut all: Vec<&str> = all_words().collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
