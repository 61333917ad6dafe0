//! Where the running program lies in memory: which addresses are its code and which its data.
//!
//! A worker is sent distances in memory and has to know what lies there before it looks. Only the main program
//! counts, not the libraries that are loaded: of those another process may have others, elsewhere.

use std::ffi::c_void;
use std::ops::Range;
use std::sync::OnceLock;

/// The main program's segments.
#[derive(Debug)]
pub(in crate::process) struct Image {
    /// What was added to the addresses in the file.
    base: usize,
    segments: Vec<Segment>,
}

#[derive(Debug)]
struct Segment {
    addresses: Range<usize>,
    is_readable: bool,
    is_executable: bool,
}

/// The image of the main program. It does not change.
pub(in crate::process) fn image() -> &'static Image {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    IMAGE.get_or_init(Image::read)
}

impl Image {
    /// Whether all of a range can be read and is no code.
    pub(in crate::process) fn is_data(&self, range: Range<usize>) -> bool {
        self.segments.iter().any(|segment| {
            segment.is_readable && !segment.is_executable && segment.contains(&range)
        })
    }

    /// Whether code can be at an address.
    pub(in crate::process) fn is_text(&self, address: usize) -> bool {
        self.segments
            .iter()
            .any(|segment| segment.is_executable && segment.addresses.contains(&address))
    }

    /// Whether all of a range can be read, be it data or code: linkers that keep the number of segments low put
    /// constants beside the code.
    pub(super) fn is_readable(&self, range: Range<usize>) -> bool {
        self.segments
            .iter()
            .any(|segment| segment.is_readable && segment.contains(&range))
    }

    pub(super) fn base(&self) -> usize {
        self.base
    }

    fn read() -> Self {
        let mut image = Self {
            base: 0,
            segments: Vec::new(),
        };
        // SAFETY: the callback is called before this returns, with the pointer to `image`, which nobody else uses in
        // the meantime.
        unsafe { libc::dl_iterate_phdr(Some(Self::add_first), (&raw mut image).cast()) };
        image
    }

    /// Notes the segments of the first object, which is the main program, and ends the iteration.
    ///
    /// # Safety
    /// To be called by `dl_iterate_phdr` with a pointer to an `Image`.
    unsafe extern "C" fn add_first(
        info: *mut libc::dl_phdr_info,
        _: libc::size_t,
        image: *mut c_void,
    ) -> libc::c_int {
        // SAFETY: both are what `dl_iterate_phdr` was given and gives, valid until this returns.
        let (info, image) = unsafe { (&*info, &mut *image.cast::<Self>()) };
        if info.dlpi_phdr.is_null() {
            return 1;
        }
        // SAFETY: the loader's own table of that many entries, which it never changes.
        let headers =
            unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
        image.base = info.dlpi_addr as usize;
        for header in headers {
            if header.p_type == libc::PT_LOAD {
                let start = image.base.wrapping_add(header.p_vaddr as usize);
                image.segments.push(Segment {
                    addresses: start..start.saturating_add(header.p_memsz as usize),
                    is_readable: header.p_flags & libc::PF_R != 0,
                    is_executable: header.p_flags & libc::PF_X != 0,
                });
            }
        }
        1
    }
}

impl Segment {
    fn contains(&self, range: &Range<usize>) -> bool {
        self.addresses.start <= range.start
            && range.start <= range.end
            && range.end <= self.addresses.end
    }
}

#[cfg(all(test, not(concurrent_futures_loom)))]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    static WRITTEN: AtomicU64 = AtomicU64::new(0);

    fn at<T>(place: *const T) -> Range<usize> {
        place.addr()..place.addr() + size_of::<T>()
    }

    #[test]
    fn statics_are_data_and_functions_are_text() {
        let image = image();
        assert!(image.is_data(at(&raw const WRITTEN)));
        assert!(!image.is_text((&raw const WRITTEN).addr()));
        let function = statics_are_data_and_functions_are_text as fn() as usize;
        assert!(image.is_text(function));
        assert!(!image.is_data(function..function + 1));
        assert!(image.is_readable(function..function + 1));
    }

    #[test]
    fn what_is_not_in_the_program_is_neither() {
        let image = image();
        let local = 0_u64;
        let boxed = Box::new(0_u64);
        // SAFETY: it reads a table that the kernel has filled.
        let loader = unsafe { libc::getauxval(libc::AT_BASE) } as usize;
        for range in [
            at(&raw const local),
            at(&raw const *boxed),
            0..1,
            usize::MAX..usize::MAX,
        ] {
            assert!(!image.is_data(range.clone()), "{range:x?}");
            assert!(!image.is_text(range.start), "{range:x?}");
        }
        // 0 in a static program.
        assert!(!image.is_readable(loader..loader + 1));
    }

    #[test]
    fn a_range_that_leaves_its_segment_is_not_data() {
        let image = image();
        let place = at(&raw const WRITTEN);
        assert!(!image.is_data(place.start..usize::MAX));
        assert!(!image.is_data(0..place.end));
        let reversed = Range {
            start: place.end,
            end: place.start,
        };
        assert!(!image.is_data(reversed));
    }
}
