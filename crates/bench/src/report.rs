//! Prints what was measured: as a table for people, or as JSON for programs.

use serde::Serialize;

use crate::measure::{Case, OURS, Row};

#[derive(Serialize)]
struct Line {
    suite: &'static str,
    case: &'static str,
    subject: &'static str,
    unit: &'static str,
    median: f64,
    min: f64,
    max: f64,
    runs: usize,
}

pub(crate) fn print_json(suite: &'static str, case: &Case, rows: &[Row]) {
    for row in rows {
        let line = Line {
            suite,
            case: case.name,
            subject: row.subject,
            unit: case.unit,
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
    println!("{suite} {}, in {} for a task", case.name, case.unit);
    println!(
        "{:<26} {:>7} {:>5} {:>11} {:>11} {:>11} {:>9} {:>9}",
        "subject", "tasks", "runs", "median", "min", "max", "its/ours", "ours/its"
    );
    let ours = rows.iter().find(|row| row.subject == OURS).map(Row::median);
    for row in rows {
        let ratio = |of: f64, to: f64| format!("{:.3}", of / to);
        let (its, of_its) = ours.map_or((String::new(), String::new()), |ours| {
            (ratio(row.median(), ours), ratio(ours, row.median()))
        });
        println!(
            "{:<26} {:>7} {:>5} {:>11.1} {:>11.1} {:>11.1} {its:>9} {of_its:>9}",
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
