//! Tests tokenizers: ids against the reference implementations, saving and loading, display of tokens.

use std::path::Path;
use std::time::Instant;

use coconut_lab::data::Tokenizer;

const TRICKY: [&str; 10] = [
    "",
    "Hello world, it's 2024!  I'll say: they've we're he'd I'm don't",
    "   leading, trailing   \n\n\n\t tabs\t\tand\r\nCRLF \u{a0}nbsp \u{3000}wide ",
    "naïve café — “quotes” … 日本語のテキスト 한국어 Привет עברית العربية",
    "👩‍👩‍👧‍👦 🏳️‍🌈 e\u{301} \u{200b}zero",
    "1234567890 3.14159 0x1F600 1e-9 ½ ² Ⅷ ٣",
    "snake_case camelCase kebab-case a/b\\c {\"json\": [1, 2]} <tag attr='x'/>",
    "'S 'T 'LL don'T 'sup ''' \"''\"",
    "\u{0}\u{1}\u{7f}\u{ffff}\u{10ffff}",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa            x",
];

#[test]
fn gpt2_ids_are_tiktokens() {
    let codec = Tokenizer::gpt2().unwrap();
    let reference = tiktoken_rs::r50k_base().unwrap();
    assert_eq!((codec.vocab_size(), codec.eos_id()), (50257, Some(50256)));
    for text in TRICKY {
        let ids = codec.encode(text).unwrap();
        assert_eq!(ids, reference.encode_with_special_tokens(text), "{text:?}");
        assert_eq!(codec.decode(&ids), text);
    }
    assert_eq!(codec.encode("a<|endoftext|>b").unwrap(), [64, 50256, 65]);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/text/tinyshakespeare.txt");
    let Ok(text) = std::fs::read_to_string(&path) else {
        return println!("skipped: {} is absent", path.display());
    };
    assert!(codec.encode(&text).unwrap() == reference.encode_with_special_tokens(&text));
}

#[test]
fn byte_ids_are_the_bytes_and_a_long_document_is_quick() {
    let codec = Tokenizer::byte().unwrap();
    assert_eq!((codec.vocab_size(), codec.eos_id()), (257, Some(256)));
    for text in TRICKY {
        let ids = codec.encode(text).unwrap();
        assert_eq!(ids, text.bytes().map(u32::from).collect::<Vec<u32>>(), "{text:?}");
        assert_eq!(codec.decode(&ids), text);
    }
    for long in ["word and ".repeat(120_000), "x".repeat(1 << 20), " ".repeat(1 << 20)] {
        let began = Instant::now();
        assert_eq!(codec.encode(&long).unwrap().len(), long.len());
        assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
    }
}

#[test]
fn words_are_one_id_each_and_read_well() {
    let codec = Tokenizer::words().unwrap();
    let text = "Every terpus is a brimpus. Is Tom a lempus or scrompus? Tom is a lempus.";
    let ids = codec.encode(text).unwrap();
    assert_eq!(ids.len(), 6 + 7 + 5);
    assert_eq!(codec.decode(&ids), text);
    assert_eq!(ids.iter().map(|id| codec.token_text(*id)).collect::<Vec<_>>()[..3], ["Every", "terpus", "is"]);
    assert_eq!(codec.decode(&codec.encode("Tom is a unicorn.").unwrap()), "Tom is a <unk>.");
    // The fast path gives the same ids as the library.
    for text in TRICKY.into_iter().chain([text, "Tom is a unicorn?!.", "Every<eos> is", " .a..b. ", "Tom\nis\ta"]) {
        assert_eq!(codec.encode_all(&[text.to_owned()]).unwrap(), [codec.encode(text).unwrap()], "{text:?}");
    }
    assert_eq!(codec.encode("Tom<eos>").unwrap()[1..], [codec.eos_id().unwrap()]);
}

#[test]
fn saving_and_loading_keeps_ids_and_hash() {
    let dir = tempfile::tempdir().unwrap();
    let mut hashes = Vec::new();
    for name in ["words", "byte", "gpt2"] {
        let codec = Tokenizer::from_name_or_file(name).unwrap();
        let path = dir.path().join(format!("{name}.json"));
        codec.save(&path).unwrap();
        let loaded = Tokenizer::from_name_or_file(path.to_str().unwrap()).unwrap();
        assert_eq!(loaded.hash(), codec.hash(), "{name}");
        assert_eq!((loaded.vocab_size(), loaded.eos_id()), (codec.vocab_size(), codec.eos_id()));
        for text in TRICKY {
            assert_eq!(loaded.encode(text).unwrap(), codec.encode(text).unwrap());
        }
        hashes.push(codec.hash());
    }
    hashes.dedup();
    assert_eq!(hashes.len(), 3);
}

#[test]
fn pieces_are_fit_for_a_screen() {
    let codec = Tokenizer::gpt2().unwrap();
    let show = |text: &str| codec.encode(text).unwrap().iter().map(|id| codec.token_text(*id)).collect::<Vec<_>>();
    assert_eq!(show("Hello world\n"), ["Hello", " world", "\\n"]);
    assert!(show("𓀀").iter().any(|piece| piece.contains("\\x")));
    assert_eq!(
        (codec.token_text(50256), codec.token_text(99_999)),
        ("<|endoftext|>".to_owned(), "<#99999>".to_owned())
    );
    assert_eq!(codec.decode(&[15496, 99_999]), "Hello<#99999>");
    for id in 0..50257 {
        assert!(!codec.token_text(id).chars().any(char::is_control));
    }
}

#[test]
fn what_is_no_tokenizer_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokenizer.json");
    std::fs::write(&path, "{\"model\": 3}").unwrap();
    let error = Tokenizer::from_file(&path).err().unwrap().to_string();
    assert!(error.contains("tokenizer.json: cannot be loaded"), "{error}");
    let error = Tokenizer::from_name_or_file("gpt5").err().unwrap().to_string();
    assert!(error.contains("words, byte, gpt2"), "{error}");
}
