//! Meta commands: an input that does not begin with one is given to `ms`, `mg` and their like.

#![no_main]

/// Bytes of an input that say how it is cut.
const CUTS: usize = 8;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    litecached_fuzz::hold(data);
    // What a key and flags may be, without having to find the command first.
    let (cuts, line) = data.split_at(data.len().min(CUTS));
    for command in ["mg ", "ms ", "ms k 2 ", "md ", "ma ", "me ", "mg a2s= b "] {
        let mut input = cuts.to_vec();
        input.resize(CUTS, 0);
        input.extend_from_slice(command.as_bytes());
        input.extend_from_slice(line);
        litecached_fuzz::hold(&input);
    }
});
