use super::*;

/// A clock that stands still until told.
struct Clock {
    begin: Instant,
    recorder: Recorder,
}

impl Clock {
    fn new() -> Self {
        let (begin, mut recorder) = (Instant::now(), Recorder::new());
        recorder.start(begin);
        Self { begin, recorder }
    }

    fn at(&self, milliseconds: u64) -> Instant {
        self.begin + Duration::from_millis(milliseconds)
    }

    fn open(&mut self, name: &'static str, milliseconds: u64) -> Opened {
        self.recorder.open(name, false, self.at(milliseconds))
    }

    fn close(&mut self, opened: &Opened, milliseconds: u64) {
        self.recorder.close(opened, self.at(milliseconds));
    }

    fn finish(mut self, milliseconds: u64) -> Profile {
        self.recorder.finish(self.at(milliseconds))
    }
}

/// Name, calls and milliseconds of every operation.
fn table(profile: &Profile) -> Vec<(&'static str, u64, u128)> {
    profile.operations.iter().map(|operation| (operation.name, operation.calls, operation.time.as_millis())).collect()
}

const MILLISECOND: Duration = Duration::from_millis(1);

#[test]
fn own_times_and_the_time_between_add_up_to_the_whole() {
    let mut clock = Clock::new();
    // layer 10..60 holds norm 12..15 and product 20..50, which holds rounding 21..27; then norm 70..74.
    let layer = clock.open("layer", 10);
    let norm = clock.open("norm", 12);
    clock.close(&norm, 15);
    let product = clock.open("product", 20);
    let rounding = clock.open("rounding", 21);
    clock.close(&rounding, 27);
    clock.close(&product, 50);
    clock.close(&layer, 60);
    let norm = clock.open("norm", 70);
    clock.close(&norm, 74);
    let profile = clock.finish(100);
    assert_eq!(table(&profile), [("product", 1, 24), ("layer", 1, 17), ("norm", 2, 7), ("rounding", 1, 6)]);
    assert_eq!((profile.wall, profile.between()), (100 * MILLISECOND, 46 * MILLISECOND));
}

#[test]
fn a_whole_operation_takes_in_what_is_inside() {
    let mut clock = Clock::new();
    let head = clock.recorder.open("output head", true, clock.at(0));
    let norm = clock.open("norm", 1);
    clock.recorder.add(&norm, Work { flops: 1.0, bytes: 10.0 });
    clock.close(&norm, 2);
    let product = clock.open("product", 3);
    clock.recorder.add(&product, Work { flops: 2.0, bytes: 20.0 });
    let rounding = clock.open("rounding", 4);
    clock.recorder.add(&rounding, Work { flops: 4.0, bytes: 40.0 });
    clock.close(&rounding, 5);
    clock.close(&product, 8);
    clock.recorder.add(&head, Work { flops: 8.0, bytes: 80.0 });
    clock.close(&head, 9);
    let profile = clock.finish(9);
    assert_eq!(table(&profile), [("output head", 1, 9)]);
    assert_eq!(profile.operations[0].work, Work { flops: 15.0, bytes: 150.0 });
    assert_eq!(profile.between(), Duration::ZERO);
}

#[test]
fn a_lap_divides_what_is_under_way() {
    let mut clock = Clock::new();
    let outer = clock.open("outer", 10);
    let inner = clock.open("inner", 15);
    clock.close(&inner, 20);
    let first = clock.recorder.lap(clock.at(30));
    let again = clock.open("inner", 31);
    clock.close(&again, 33);
    clock.close(&outer, 40);
    let second = clock.finish(50);
    assert_eq!((table(&first), first.wall), (vec![("inner", 1, 5)], 30 * MILLISECOND));
    assert_eq!((table(&second), second.wall), (vec![("outer", 1, 8), ("inner", 1, 2)], 20 * MILLISECOND));
}

#[test]
fn spans_of_an_earlier_profile_change_nothing() {
    let mut clock = Clock::new();
    let stale = clock.open("stale", 1);
    clock.recorder.start(clock.at(2));
    let fresh = clock.open("fresh", 3);
    clock.close(&stale, 4);
    clock.recorder.add(&stale, Work::bytes(9));
    clock.close(&fresh, 8);
    let profile = clock.finish(10);
    assert_eq!(table(&profile), [("fresh", 1, 5)]);
    assert_eq!(profile.operations[0].work, Work::default());
}

/// The profile of the process: one test, because tests run side by side.
#[test]
fn a_profile_follows_the_thread_that_started_it_and_nothing_is_recorded_without() {
    let count = |profile: &Profile, name: &str| {
        profile.operations.iter().find(|operation| operation.name == name).map_or(0, |operation| operation.calls)
    };
    let nobody_asks = || -> Work { panic!("no work is counted while no profile runs") };
    drop(span("off").work(nobody_asks));
    assert_eq!((lap(), finish()), (None, Profile::default()));

    start();
    let before = span("on").work(|| Work::bytes(7));
    drop(before);
    std::thread::scope(|scope| {
        scope.spawn(|| drop(span("another thread").work(nobody_asks)));
        scope.spawn(|| assert_eq!((lap(), finish()), (None, Profile::default()), "another thread ends nothing"));
        scope.spawn(handed(|| drop(span("on"))));
    });
    let first = lap().expect("a profile runs");
    assert_eq!((count(&first, "on"), count(&first, "another thread"), count(&first, "off")), (2, 0, 0));
    assert_eq!(first.operations[0].work.bytes, 7.0);
    drop(span("second lap"));
    let second = finish();
    assert_eq!((second.operations.len(), count(&second, "second lap")), (1, 1));
    drop(span("off").work(nobody_asks));
    assert_eq!(finish(), Profile::default());
}
