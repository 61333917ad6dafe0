//! The size of a cell.

use super::kind::Local;
use super::layout::Cell;
use crate::error::TaskError;

#[test]
fn a_task_for_a_number_takes_at_most_96_bytes() {
    fn size<F: FnOnce() -> Result<u64, TaskError> + Send + 'static>(_: &F) -> usize {
        size_of::<Cell<Local<F, u64>>>()
    }
    let number = 7_u64;
    assert_eq!(size(&move || Ok(number)), 88);
}
