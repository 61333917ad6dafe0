//! Tasks in the order in which workers take them: by priority, and by age inside one.
//!
//! Always: what is pushed to the back is younger than all that is there, and what is pushed to the front
//! is older. Of [`TURNS`] tasks that are taken while an older one of another priority waits, one is the
//! oldest of all; so nothing waits for ever. Tasks of priority 0 lie in a plain queue, so that who uses
//! no other pays for nothing else.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::iter;

/// Of so many tasks that could overtake an older one, the last does not.
const TURNS: u32 = 16;

/// Where a task stands among those of its priority, and how old it is: smaller is older.
type Age = i64;

/// Tasks with their priorities.
#[derive(Debug)]
pub(crate) struct Ranked<T> {
    /// The tasks of priority 0, the oldest first.
    ordinary: VecDeque<(Age, T)>,
    /// The tasks of other priorities, the most urgent first, and of equals the oldest.
    others: BTreeMap<(Reverse<i32>, Age), T>,
    /// The priorities of the latter, by their age.
    ages: BTreeMap<Age, i32>,
    /// The age of the next task that is pushed to the back; what is pushed to the front has one below
    /// `front`.
    back: Age,
    front: Age,
    /// How many tasks in a row have overtaken an older one.
    overtakers: u32,
}

/// Which task is taken next.
enum Next {
    Ordinary,
    Other(i32, Age),
}

/// Where a task lies.
enum Found {
    Ordinary(usize),
    Other(i32, Age),
}

/// A task that is taken next, or was taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Taken<T> {
    pub(crate) task: T,
    /// It was taken for its age, although a more urgent one is there.
    pub(crate) for_its_age: bool,
}

impl<T> Default for Ranked<T> {
    fn default() -> Self {
        Self {
            ordinary: VecDeque::new(),
            others: BTreeMap::new(),
            ages: BTreeMap::new(),
            back: 0,
            front: 0,
            overtakers: 0,
        }
    }
}

impl<T> Ranked<T> {
    pub(crate) fn len(&self) -> usize {
        self.ordinary.len() + self.others.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ordinary.is_empty() && self.others.is_empty()
    }

    /// Puts a task behind its equals.
    #[inline]
    pub(crate) fn push(&mut self, priority: i32, task: T) {
        let age = self.back;
        self.back += 1;
        if priority == 0 {
            self.ordinary.push_back((age, task));
        } else {
            self.insert(priority, age, task);
        }
    }

    /// Puts a task that was taken before in front of its equals.
    pub(crate) fn push_front(&mut self, priority: i32, task: T) {
        self.front -= 1;
        let age = self.front;
        if priority == 0 {
            self.ordinary.push_front((age, task));
        } else {
            self.insert(priority, age, task);
        }
    }

    fn insert(&mut self, priority: i32, age: Age, task: T) {
        self.others.insert((Reverse(priority), age), task);
        self.ages.insert(age, priority);
    }

    fn remove(&mut self, priority: i32, age: Age) -> Option<T> {
        self.ages.remove(&age);
        self.others.remove(&(Reverse(priority), age))
    }

    /// The most urgent task.
    fn most_urgent(&self) -> Option<(Next, Age)> {
        let ordinary = self.ordinary.front().map(|(age, _)| (Next::Ordinary, *age));
        match self.others.first_key_value() {
            Some((&(Reverse(priority), age), _)) if priority > 0 || ordinary.is_none() => {
                Some((Next::Other(priority, age), age))
            }
            _ => ordinary,
        }
    }

    /// The task that is older than all others.
    fn oldest(&self) -> Option<(Next, Age)> {
        let ordinary = self.ordinary.front().map(|(age, _)| (Next::Ordinary, *age));
        match (self.ages.first_key_value(), ordinary) {
            (Some((&age, &priority)), None) => Some((Next::Other(priority, age), age)),
            (Some((&age, &priority)), Some((_, other))) if age < other => {
                Some((Next::Other(priority, age), age))
            }
            (_, ordinary) => ordinary,
        }
    }

    /// The next task, whether one overtakes another with it, and whether it is taken for its age.
    fn next(&self) -> Option<(Next, bool, bool)> {
        let (urgent, age) = self.most_urgent()?;
        let (oldest, oldest_age) = self.oldest()?;
        Some(if age == oldest_age {
            (urgent, false, false)
        } else if self.overtakers + 1 < TURNS {
            (urgent, true, false)
        } else {
            (oldest, false, true)
        })
    }

    /// The task that [`pop`](Self::pop) takes next.
    #[inline]
    pub(crate) fn peek(&self) -> Option<Taken<&T>> {
        if self.others.is_empty() {
            let (_, task) = self.ordinary.front()?;
            let for_its_age = false;
            return Some(Taken { task, for_its_age });
        }
        let (next, _, for_its_age) = self.next()?;
        let task = match next {
            Next::Ordinary => self.ordinary.front().map(|(_, task)| task),
            Next::Other(priority, age) => self.others.get(&(Reverse(priority), age)),
        }?;
        Some(Taken { task, for_its_age })
    }

    /// Takes the next task.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Taken<T>> {
        if self.others.is_empty() {
            let (_, task) = self.ordinary.pop_front()?;
            let for_its_age = false;
            return Some(Taken { task, for_its_age });
        }
        let (next, overtakes, for_its_age) = self.next()?;
        if overtakes {
            self.overtakers += 1;
        } else if for_its_age {
            self.overtakers = 0;
        }
        let task = match next {
            Next::Ordinary => self.ordinary.pop_front().map(|(_, task)| task),
            Next::Other(priority, age) => self.remove(priority, age),
        }?;
        Some(Taken { task, for_its_age })
    }

    /// Takes out the one task for which `is_wanted` holds. It is looked for at all ends at a time: those
    /// who take out many begin with the first or the last.
    pub(crate) fn take(&mut self, is_wanted: impl Fn(&T) -> bool) -> Option<T> {
        let ordinary = self.ordinary.iter().enumerate();
        let mut ordinary = ordinary.map(|(place, (_, task))| (Found::Ordinary(place), task));
        let others = self.others.iter();
        let mut others =
            others.map(|(&(Reverse(priority), age), task)| (Found::Other(priority, age), task));
        let ends = iter::from_fn(|| {
            let firsts = [ordinary.next(), others.next()];
            let lasts = [ordinary.next_back(), others.next_back()];
            let is_over = firsts.iter().all(Option::is_none);
            (!is_over).then(|| firsts.into_iter().chain(lasts).flatten())
        });
        let (found, _) = ends.flatten().find(|(_, task)| is_wanted(task))?;
        match found {
            Found::Ordinary(place) => self.ordinary.remove(place).map(|(_, task)| task),
            Found::Other(priority, age) => self.remove(priority, age),
        }
    }

    /// Takes out the tasks that are not to be kept, in the order of their ranks.
    pub(crate) fn take_unless(&mut self, is_kept: impl Fn(&T) -> bool) -> Vec<T> {
        let Self {
            back,
            front,
            overtakers,
            ..
        } = *self;
        let all = std::mem::take(self);
        let mut taken = Vec::new();
        for (priority, age, task) in all.into_ranks() {
            if !is_kept(&task) {
                taken.push(task);
            } else if priority == 0 {
                self.ordinary.push_back((age, task));
            } else {
                self.insert(priority, age, task);
            }
        }
        (self.back, self.front, self.overtakers) = (back, front, overtakers);
        taken
    }

    /// All tasks, in no particular order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        let ordinary = self.ordinary.iter().map(|(_, task)| task);
        ordinary.chain(self.others.values())
    }

    /// Takes out all tasks, in the order of their ranks.
    pub(crate) fn take_all(&mut self) -> impl Iterator<Item = T> + use<T> {
        std::mem::take(self).into_ranks().map(|(_, _, task)| task)
    }

    fn into_ranks(mut self) -> impl Iterator<Item = (i32, Age, T)> {
        let less_urgent = self.others.split_off(&(Reverse(0), Age::MIN));
        let others = |((Reverse(priority), age), task)| (priority, age, task);
        let ordinary = self.ordinary.into_iter();
        let more_urgent = self.others.into_iter().map(others);
        more_urgent
            .chain(ordinary.map(|(age, task)| (0, age, task)))
            .chain(less_urgent.into_iter().map(others))
    }

    /// Gives memory back that a queue of more than so many tasks has taken, once it is empty.
    pub(crate) fn shrink_to(&mut self, most: usize) {
        if self.ordinary.is_empty() && self.ordinary.capacity() > most {
            self.ordinary.shrink_to(most);
        }
    }
}

#[cfg(all(test, not(concurrent_futures_loom)))]
mod tests {
    use std::cell::Cell;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn pop(ranked: &mut Ranked<u32>) -> Option<u32> {
        let next = ranked.peek().map(|next| (*next.task, next.for_its_age));
        let taken = ranked.pop().map(|taken| (taken.task, taken.for_its_age));
        assert_eq!(next, taken);
        taken.map(|(task, _)| task)
    }

    #[test]
    fn the_most_urgent_comes_first_and_equals_come_in_their_order() {
        let mut ranked = Ranked::default();
        for (task, priority) in [(1, 0), (2, 5), (3, -1), (4, 5), (5, i32::MIN), (6, 0)] {
            ranked.push(priority, task);
        }
        let order: Vec<_> = std::iter::from_fn(|| pop(&mut ranked)).collect();
        assert_eq!(order, [2, 4, 1, 6, 3, 5]);
        assert!(ranked.is_empty());
    }

    #[test]
    fn what_comes_back_goes_before_its_equals_and_behind_the_more_urgent() {
        let mut ranked = Ranked::default();
        ranked.push(1, 1);
        ranked.push(0, 2);
        ranked.push_front(0, 3);
        ranked.push_front(1, 4);
        let order: Vec<_> = std::iter::from_fn(|| pop(&mut ranked)).collect();
        assert_eq!(order, [4, 1, 3, 2]);
    }

    #[test]
    fn of_sixteen_tasks_that_could_overtake_an_older_one_the_last_does_not() {
        for old in [0, -3, 3] {
            let mut ranked = Ranked::default();
            ranked.push(old, 1_000);
            let mut taken = Vec::new();
            for urgent in 0..40 {
                ranked.push(9, urgent);
                let next = ranked.pop().expect("one was pushed");
                assert_eq!(next.for_its_age, next.task == 1_000);
                taken.push(next.task);
            }
            assert_eq!(taken.iter().position(|task| *task == 1_000), Some(15));
        }
    }

    #[test]
    fn without_an_older_one_no_turn_is_counted() {
        let mut ranked = Ranked::default();
        for round in 0..100 {
            ranked.push(1, round);
            assert_eq!(pop(&mut ranked), Some(round));
        }
        ranked.push(0, 1_000);
        for round in 0..15 {
            ranked.push(1, round);
            assert_eq!(pop(&mut ranked), Some(round));
        }
        ranked.push(1, 15);
        assert_eq!(pop(&mut ranked), Some(1_000));
    }

    #[test]
    fn the_first_and_the_last_of_each_kind_are_found_at_once() {
        let tasks = (-1..2).flat_map(|priority| (0..100).map(move |number| (priority, number)));
        for (order, of_ordinary) in [(1, true), (-1, true), (1, false), (-1, false)] {
            let mut ranked = Ranked::default();
            for task in tasks.clone() {
                ranked.push(task.0, task);
            }
            // The order of ranks, or the reverse.
            let mut wanted: Vec<_> = tasks
                .clone()
                .filter(|task| (task.0 == 0) == of_ordinary)
                .collect();
            wanted.sort_by_key(|(priority, number)| (-priority * order, number * order));
            for task in wanted {
                let looks = Cell::new(0);
                let is_wanted = |other: &_| {
                    looks.set(looks.get() + 1);
                    *other == task
                };
                assert_eq!(ranked.take(is_wanted), Some(task));
                assert!(looks.get() <= 4, "{task:?}: {looks:?}");
            }
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push(i32),
        PushFront(i32),
        Pop,
        Take(u32),
        TakeUnless(u32),
    }

    fn some_step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (-2..3).prop_map(Step::Push),
            1 => (-2..3).prop_map(Step::PushFront),
            3 => Just(Step::Pop),
            1 => (0..200_u32).prop_map(Step::Take),
            1 => (2..7_u32).prop_map(Step::TakeUnless),
        ]
    }

    /// The same, as a list that is searched: the tasks with their priorities, the oldest first.
    #[derive(Default)]
    struct Model {
        tasks: VecDeque<(i32, u32)>,
        overtakers: u32,
    }

    impl Model {
        fn ranks(&self) -> Vec<usize> {
            let mut places: Vec<usize> = (0..self.tasks.len()).collect();
            places.sort_by_key(|&place| Reverse(self.tasks[place].0));
            places
        }

        fn take(&mut self, place: usize) -> Option<u32> {
            self.tasks.remove(place).map(|(_, task)| task)
        }

        fn pop(&mut self) -> Option<u32> {
            let urgent = *self.ranks().first()?;
            if urgent > 0 {
                self.overtakers = (self.overtakers + 1) % TURNS;
                if self.overtakers == 0 {
                    return self.take(0);
                }
            }
            self.take(urgent)
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn it_does_what_a_list_does_that_is_searched(steps in vec(some_step(), 0..200)) {
            let (mut ranked, mut model) = (Ranked::default(), Model::default());
            for (number, step) in (0..).zip(steps) {
                match step {
                    Step::Push(priority) => {
                        ranked.push(priority, number);
                        model.tasks.push_back((priority, number));
                    }
                    Step::PushFront(priority) => {
                        ranked.push_front(priority, number);
                        model.tasks.push_front((priority, number));
                    }
                    Step::Pop => prop_assert_eq!(pop(&mut ranked), model.pop()),
                    Step::Take(wanted) => {
                        let place = model.tasks.iter().position(|(_, task)| *task == wanted);
                        let expected = place.and_then(|place| model.take(place));
                        prop_assert_eq!(ranked.take(|task| *task == wanted), expected);
                    }
                    Step::TakeUnless(divisor) => {
                        let is_kept = |task: &u32| !task.is_multiple_of(divisor);
                        let expected: Vec<u32> = model.ranks().into_iter()
                            .map(|place| model.tasks[place].1)
                            .filter(|task| !is_kept(task))
                            .collect();
                        model.tasks.retain(|(_, task)| is_kept(task));
                        prop_assert_eq!(ranked.take_unless(is_kept), expected);
                    }
                }
                prop_assert_eq!(ranked.len(), model.tasks.len());
                prop_assert_eq!(ranked.is_empty(), model.tasks.is_empty());
            }
            let expected: Vec<u32> = model.ranks().into_iter().map(|place| model.tasks[place].1).collect();
            let rest: Vec<u32> = ranked.take_all().collect();
            prop_assert_eq!(rest, expected);
            prop_assert!(ranked.is_empty());
        }
    }
}
