//! Gives the fuzzer's bytes to all that decodes what another process has written.
#![no_main]

use concurrent_futures::fuzzing::decode_anything;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| decode_anything(bytes));
