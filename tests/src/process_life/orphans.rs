//! No worker outlives its parent, however that ends and whatever the worker does.

use std::io::Read;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::door::Door;
use super::programs::{PARENT, program, said_with};
use super::system::{Process, SOON, assert_ended, children_of, read_to_its_end};
use crate::harness::{eventually, tests};

fn parent(situation: &str, door: &Door) -> (Child, Process) {
    let child = program(PARENT, situation).arg(door.name()).spawn().unwrap();
    let process = Process::of(child.id());
    (child, process)
}

/// Kills the parent when so many tasks have knocked; gives what they have named.
fn killed_in(situation: &str, visits: usize) -> Vec<Process> {
    let door = Door::new();
    let (mut child, process) = parent(situation, &door);
    let visitors = door.visitors(visits);
    assert!(visitors.iter().all(|visitor| visitor.process().is_alive()));
    process.kill();
    child.wait().unwrap();
    let processes: Vec<_> = visitors
        .into_iter()
        .flat_map(super::door::Visitor::into_processes)
        .collect();
    assert_ended(&processes);
    // Nobody else is left that has its output.
    read_to_its_end(child.stdout.take().unwrap());
    processes
}

tests! {
    fn idle_workers_end_when_their_parent_is_killed() {
        let door = Door::new();
        let (mut child, process) = parent("idle", &door);
        let workers: Vec<_> = door
            .visitors(2)
            .into_iter()
            .map(|visitor| {
                let worker = Process::of(visitor.pid());
                visitor.let_in();
                worker
            })
            .collect();
        // Now it is the parent that knocks.
        let visitor = door.visitor();
        assert_eq!(visitor.pid(), process.pid());
        assert!(workers.iter().all(Process::is_alive));
        process.kill();
        child.wait().unwrap();
        assert_ended(&workers);
        read_to_its_end(child.stdout.take().unwrap());
    }

    fn busy_workers_end_when_their_parent_is_killed() {
        killed_in("busy", 1);
    }

    fn workers_that_spin_with_all_signals_blocked_end_when_their_parent_is_killed() {
        killed_in("spinning", 1);
    }

    fn a_stopped_worker_ends_when_its_parent_is_killed() {
        let door = Door::new();
        let (mut child, process) = parent("busy", &door);
        let visitor = door.visitor();
        visitor.process().signal(Signal::STOP);
        eventually("it is stopped", || visitor.process().is_asleep());
        process.kill();
        child.wait().unwrap();
        assert_ended(&visitor.into_processes());
    }

    fn workers_that_have_closed_every_descriptor_end_when_their_parent_is_killed() {
        killed_in("without-descriptors", 1);
    }

    fn what_tasks_have_started_ends_when_the_parent_is_killed() {
        assert_eq!(killed_in("with-children", 1).len(), 5);
    }

    fn workers_of_workers_end_when_the_first_parent_is_killed() {
        assert_eq!(killed_in("nested", 3).len(), 3);
    }

    fn a_worker_that_is_killed_takes_its_own_workers_with_it() {
        let door = Door::new();
        let (mut child, process) = parent("nested", &door);
        let mut visitors = door.visitors(3);
        let first = children_of(process.pid());
        visitors.sort_by_key(|visitor| !first.contains(&visitor.pid()));
        visitors[0].process().kill();
        let family: Vec<_> = visitors.into_iter().flat_map(super::door::Visitor::into_processes).collect();
        assert_ended(&family);
        process.kill();
        child.wait().unwrap();
        read_to_its_end(child.stdout.take().unwrap());
    }

    fn a_parent_that_is_killed_while_its_workers_start_leaves_none() {
        let mut had_children = 0;
        for round in 0..60_u32 {
            let door = Door::new();
            let (mut child, process) = parent("starting", &door);
            let mut output = child.stdout.take().unwrap();
            output.read_exact(&mut [0; 8]).unwrap();
            // From the first submit on, in steps of 50 microseconds.
            let begin = Instant::now();
            while begin.elapsed() < Duration::from_micros(50) * round {
                std::hint::spin_loop();
            }
            had_children += u32::from(!children_of(process.pid()).is_empty());
            process.kill();
            child.wait().unwrap();
            read_to_its_end(output);
        }
        assert!(had_children > 0, "no parent had begun to start a worker");
    }

    fn workers_end_when_the_parent_exits_or_returns_with_tasks_running() {
        for (way, code) in [("exit", 3), ("return", 0)] {
            let door = Door::new();
            let (mut child, process) = parent(way, &door);
            let visitors = door.visitors(3).into_iter();
            let (owner, visitors): (Vec<_>, Vec<_>) =
                visitors.partition(|visitor| visitor.pid() == process.pid());
            let begin = Instant::now();
            drop(owner);
            assert_eq!(child.wait().unwrap().code(), Some(code));
            assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
            for visitor in visitors {
                assert_ended(&visitor.into_processes());
            }
            assert_eq!(read_to_its_end(child.stdout.take().unwrap()), "");
            assert_eq!(read_to_its_end(child.stderr.take().unwrap()), "");
        }
    }

    fn an_interrupt_of_the_foreground_group_reaches_the_parent_alone_and_it_decides() {
        use std::os::unix::process::CommandExt;
        let door = Door::new();
        let mut command: Command = program(PARENT, "interrupted");
        let child = command.arg(door.name()).process_group(0).spawn().unwrap();
        let visitor = door.visitor();
        let group = rustix::process::Pid::from_child(&child);
        // As the terminal does it, to the group; a hangup of the worker's own would end it.
        rustix::process::kill_process_group(group, Signal::INT).unwrap();
        visitor.process().signal(Signal::INT);
        assert!(!visitor.process().ends_within(Duration::from_millis(20)));
        visitor.let_in();
        let output = child.wait_with_output().unwrap();
        assert_eq!(said_with(&output, |status| status.success()), "true\ntrue\n");
    }

    fn an_interrupt_that_ends_the_parent_ends_its_workers() {
        use std::os::unix::process::CommandExt;
        for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
            let door = Door::new();
            let mut command: Command = program(PARENT, "busy");
            let mut child = command.arg(door.name()).process_group(0).spawn().unwrap();
            let visitor = door.visitor();
            let group = rustix::process::Pid::from_child(&child);
            rustix::process::kill_process_group(group, signal).unwrap();
            assert!(!child.wait().unwrap().success());
            assert_ended(&visitor.into_processes());
            read_to_its_end(child.stdout.take().unwrap());
        }
    }
}
