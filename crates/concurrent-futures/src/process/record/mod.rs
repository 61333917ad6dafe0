//! Which function a worker is to call: a constant record in the executable, named by its place.
//!
//! For each function with its types the compiler makes one constant [`Record`], in the read-only data
//! of the executable. Pool and worker run the same executable, so the distance of the record from an
//! anchor is the same in both, wherever each was loaded; that distance is what crosses. The worker
//! believes it only after it has looked: the place must lie in the data of the main program, aligned,
//! and bear the magic number, and the function that it names must lie in the program's text.

use std::any::type_name;

use crate::codec::{Outside, Sink};
use crate::process::sys;

/// What a record's function does: decodes the arguments, calls, and gives the encoded result, or the
/// encoded error. True for a result. It does not unwind.
pub(super) type Call = fn(arguments: Arguments<'_>, answer: Answer<'_>) -> bool;

/// Encoded arguments.
#[derive(Clone, Copy)]
pub(super) struct Arguments<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) outside: Option<&'a dyn Outside>,
}

impl<'a> Arguments<'a> {
    /// Of which nothing lies outside.
    pub(super) fn whole(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            outside: None,
        }
    }
}

/// Where a result or an error goes.
pub(super) struct Answer<'a> {
    pub(super) bytes: &'a mut Vec<u8>,
    pub(super) sink: Option<&'a mut dyn Sink>,
}

impl<'a> Answer<'a> {
    /// Of which nothing goes outside.
    pub(super) fn whole(bytes: &'a mut Vec<u8>) -> Self {
        Self { bytes, sink: None }
    }
}

/// Something whose calls have a record.
pub(super) trait Callable: 'static {
    fn call(arguments: Arguments<'_>, answer: Answer<'_>) -> bool;

    /// The type of what is called, for people.
    fn function() -> &'static str {
        type_name::<Self>()
    }
}

#[repr(C, align(16))]
struct Record {
    magic: [u64; 2],
    call: Call,
    function: fn() -> &'static str,
}

/// Not a number that data has by chance.
const MAGIC: [u64; 2] = [0x63_6f_6e_63_75_72_72_65, 0x9e37_79b9_7f4a_7c15];

/// A record or a function, by its distance from the anchor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name(pub(super) u64);

impl Name {
    fn of_address(address: usize) -> Self {
        Self(address.wrapping_sub(sys::anchor()) as u64)
    }

    fn address(self) -> usize {
        #[expect(clippy::cast_possible_truncation, reason = "processes are for 64 bits")]
        sys::anchor().wrapping_add(self.0 as usize)
    }
}

/// The name of the record of `C`.
pub(super) fn name_of<C: Callable>() -> Name {
    let record: &'static Record = const {
        &Record {
            magic: MAGIC,
            call: C::call,
            function: C::function,
        }
    };
    Name::of_address(std::ptr::from_ref(record).addr())
}

/// What the record with this name calls, if there is such a record in this program.
pub(super) fn find(name: Name) -> Option<Call> {
    let record = record(name)?;
    // SAFETY: it is a record, as the compiler laid it down.
    Some(unsafe { (&raw const (*record).call).read() })
}

/// The type of what the record with this name calls, for people.
pub(super) fn function_of(name: Name) -> Option<&'static str> {
    let record = record(name)?;
    // SAFETY: as above.
    let function = unsafe { (&raw const (*record).function).read() };
    Some(function())
}

/// The record with this name. What is given is one, so that its fields can be read.
fn record(name: Name) -> Option<*const Record> {
    let address = name.address();
    let end = address.checked_add(size_of::<Record>())?;
    if address % align_of::<Record>() != 0 || !sys::image().is_data(address..end) {
        return None;
    }
    // Exposed, since the record was made elsewhere: the linker's places have no provenance here.
    let record = std::ptr::with_exposed_provenance::<Record>(address);
    // SAFETY: the bytes lie in one readable segment of this program's data and are aligned; numbers
    // have no invalid values.
    let magic = unsafe { (&raw const (*record).magic).read() };
    if magic != MAGIC {
        return None;
    }
    // SAFETY: as above; the pointer is read as a number, which may be anything.
    let function = unsafe { (&raw const (*record).call).cast::<usize>().read() };
    if !sys::image().is_text(function) {
        return None;
    }
    // 128 bits of magic at an aligned place in the program's own data make it a `Record`, as the
    // compiler laid it down; so its fields are such functions, and they lie in the program's text.
    Some(record)
}

/// The name of a function pointer, which may come from a table.
pub(super) fn name_of_pointer<A, T>(function: fn(A) -> T) -> Name {
    Name::of_address(function as usize)
}

/// The function with this name. The types are those with which it was named: the caller's record
/// carries them.
pub(super) fn find_pointer<A, T>(name: Name) -> Option<fn(A) -> T> {
    let address = name.address();
    if !sys::image().is_text(address) {
        return None;
    }
    let pointer = std::ptr::with_exposed_provenance::<()>(address);
    // SAFETY: the pool named a function of this very type, in the same program; it lies in the text.
    Some(unsafe { std::mem::transmute::<*const (), fn(A) -> T>(pointer) })
}

/// A function of no size, made anew.
///
/// What this cannot see is a captured value of no size that proves something about the process in
/// which it was made; the documentation of `Executor` forbids it.
pub(super) fn conjure<F: Copy + Send + Sync + 'static>() -> F {
    const {
        assert!(
            size_of::<F>() == 0,
            "a submitted function must capture nothing, because another process makes it anew"
        );
    }
    // SAFETY: a value of no size has no bytes to initialise; it is `Copy`, so one more of it is
    // nothing new, and one existed when the task was submitted, so that the type is inhabited.
    unsafe { std::ptr::NonNull::<F>::dangling().read() }
}

#[cfg(all(test, not(concurrent_futures_loom)))]
mod tests {
    use super::*;

    struct Nothing;
    impl Callable for Nothing {
        fn call(_arguments: Arguments<'_>, answer: Answer<'_>) -> bool {
            answer.bytes.push(7);
            true
        }
    }

    #[test]
    fn a_record_is_found_by_its_name_and_garbage_is_not() {
        let name = name_of::<Nothing>();
        let mut out = Vec::new();
        let call = find(name).expect("it is there");
        assert!(call(Arguments::whole(&[]), Answer::whole(&mut out)));
        assert_eq!(out, [7]);
        assert_eq!(function_of(name), Some(type_name::<Nothing>()));
        for garbage in [
            0,
            1,
            8,
            16,
            u64::MAX,
            u64::MAX << 4,
            1 << 40,
            name.0 + 8,
            name.0 + 16,
            name.0.wrapping_sub(16),
        ] {
            assert!(find(Name(garbage)).is_none(), "{garbage:#x}");
        }
        // The place of a function is no record.
        assert!(find(name_of_pointer::<u32, u32>(u32::count_ones_of)).is_none());
    }

    trait CountOnes {
        fn count_ones_of(self) -> u32;
    }
    impl CountOnes for u32 {
        fn count_ones_of(self) -> u32 {
            self.count_ones()
        }
    }

    #[test]
    fn a_pointer_is_found_by_its_name_and_data_is_not() {
        let name = name_of_pointer::<u32, u32>(u32::count_ones_of);
        assert_eq!(find_pointer::<u32, u32>(name).expect("it is there")(7), 3);
        assert!(find_pointer::<u32, u32>(name_of::<Nothing>()).is_none());
    }
}
