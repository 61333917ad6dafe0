//! Memory that a parent has touched, which makes it slow to copy.

use memmap2::{Advice, MmapMut};

use super::linux;

/// What has to be left beside a ballast.
const RESERVE: u64 = 1 << 30;

/// Touched pages of the usual size, private to this process, until it is dropped.
pub(crate) struct Ballast {
    _memory: MmapMut,
}

impl Ballast {
    /// Whether the machine has so much memory now.
    pub(crate) fn fits(bytes: usize) -> bool {
        let needed = u64::try_from(bytes).expect("a size has at most 64 bits") + RESERVE;
        linux::available_bytes() >= needed
    }

    pub(crate) fn touched(bytes: usize) -> Self {
        let mut memory = MmapMut::map_anon(bytes).expect("there is address space");
        // Few huge pages would be copied soon.
        memory
            .advise(Advice::NoHugePage)
            .expect("the kernel knows huge pages");
        for page in memory.chunks_mut(rustix::param::page_size()) {
            page[0] = 1;
        }
        Self { _memory: memory }
    }
}
