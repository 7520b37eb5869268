#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| sheave_fuzz::syn_proxy(input));
