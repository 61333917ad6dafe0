//! What the choice of chunks is worth: our time beside that of the best fixed size.

use crate::measure::{AUTOMATIC, Row};

/// Our time in each round by the one of the fixed size that has the least median in the other
/// rounds. None where there is no sweep, and where there is one round only.
pub(crate) fn automatic_to_best(rows: &[Row]) -> Option<Row> {
    let (ours, fixed) = rows.split_first()?;
    if ours.subject != AUTOMATIC || ours.runs() < 2 {
        return None;
    }
    let ratios = (0..ours.runs()).map(|round| {
        let elsewhere = |row: &Row| row.without(round).median();
        let best = fixed
            .iter()
            .min_by(|one, other| elsewhere(one).total_cmp(&elsewhere(other)))
            .expect("a sweep has fixed sizes");
        ours.value(round) / best.value(round)
    });
    Some(Row::new(
        "automatic/best-chunk",
        ours.tasks,
        ratios.collect(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_size_is_chosen_in_the_other_rounds() {
        let rows = [
            Row::new(AUTOMATIC, 1, vec![10.0, 12.0, 11.0]),
            Row::new("chunk-1", 1, vec![10.0, 10.0, 10.0]),
            // The least of all in one round, by luck, and only there.
            Row::new("chunk-4", 1, vec![11.0, 11.0, 5.0]),
        ];
        let ratios = automatic_to_best(&rows).expect("it is a sweep");
        // In the last round the others say that size 1 is the best. In the first two the median of
        // size 4 is lower, thanks to that one value.
        let expected = [10.0 / 11.0, 12.0 / 11.0, 1.1];
        for (round, expected) in expected.into_iter().enumerate() {
            assert!((ratios.value(round) - expected).abs() < 1e-9);
        }
    }

    #[test]
    fn other_cases_have_no_best_size() {
        let rows = [Row::new("other", 1, vec![1.0, 2.0])];
        assert!(automatic_to_best(&rows).is_none());
    }
}
