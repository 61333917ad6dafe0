//! Prints what was measured: as a table for people, or as JSON for programs.

use serde::Serialize;

use crate::measure::{AUTOMATIC, Case, OURS, Row};

#[derive(Serialize)]
struct Line {
    suite: &'static str,
    case: &'static str,
    subject: &'static str,
    unit: &'static str,
    better: &'static str,
    median: f64,
    min: f64,
    max: f64,
    runs: usize,
}

/// Which of two values is the better one, and so what a ratio above 1 means.
fn better(case: &Case) -> &'static str {
    if case.is_rate() { "higher" } else { "lower" }
}

pub(crate) fn print_json(suite: &'static str, case: &Case, rows: &[Row]) {
    for row in rows {
        let line = Line {
            suite,
            case: case.name,
            subject: row.subject,
            unit: case.unit,
            better: better(case),
            median: row.median(),
            min: row.min(),
            max: row.max(),
            runs: row.runs(),
        };
        let line = serde_json::to_string(&line).expect("text and finite numbers can be encoded");
        println!("{line}");
    }
}

pub(crate) fn print_table(suite: &str, case: &Case, rows: &[Row]) {
    println!(
        "{suite} {}, in {}; {} is better",
        case.name,
        case.unit,
        better(case)
    );
    let digits = if case.is_rate() { 3 } else { 1 };
    println!(
        "{:<28} {:>7} {:>5} {:>11} {:>11} {:>11} {:>9} {:>9}",
        "subject", "tasks", "runs", "median", "min", "max", "its/ours", "ours/its"
    );
    let ours = Row::of(rows, OURS)
        .or_else(|| Row::of(rows, AUTOMATIC))
        .map(Row::median);
    for row in rows {
        // A count can be zero, and then there is none.
        let ratio = |of: f64, to: f64| match of / to {
            ratio if ratio.is_finite() => format!("{ratio:.3}"),
            _ => String::new(),
        };
        let (its, of_its) = ours.map_or((String::new(), String::new()), |ours| {
            (ratio(row.median(), ours), ratio(ours, row.median()))
        });
        println!(
            "{:<28} {:>7} {:>5} {:>11.digits$} {:>11.digits$} {:>11.digits$} {its:>9} {of_its:>9}",
            row.subject,
            row.tasks,
            row.runs(),
            row.median(),
            row.min(),
            row.max(),
        );
    }
    println!();
}

/// Prints what each subject of a case takes beside what it takes in another case.
pub(crate) fn print_comparison(
    suite: &str,
    (name, rows): (&str, &[Row]),
    (other_name, other_rows): (&str, &[Row]),
) {
    println!("{suite} {name} / {other_name}");
    for row in rows {
        if let Some(other) = Row::of(other_rows, row.subject) {
            let ratio = row.median() / other.median();
            println!("{:<28} {ratio:>9.3}", row.subject);
        }
    }
    println!();
}

/// Prints a ratio that was worked out of the rows of a case.
pub(crate) fn print_ratio(suite: &'static str, case: &Case, ratio: &Row, json: bool) {
    if json {
        let case = Case {
            unit: "ratio",
            ..*case
        };
        print_json(suite, &case, std::slice::from_ref(ratio));
    } else {
        println!(
            "{} {:.3} ({:.3} to {:.3})\n",
            ratio.subject,
            ratio.median(),
            ratio.min(),
            ratio.max(),
        );
    }
}
