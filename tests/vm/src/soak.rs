//! Random programs without end.
//!
//! Programs are generated from a seed, loaded, run in slices of random length, and killed at random
//! times, several at once, with every strategy and policy. What a generated program must return is
//! computed beside it. Others are guests of these tests with random arguments: honest ones that
//! check their files and the blocks of the host's heap themselves, and hostile ones.
//!
//! Every [`INTERVAL`] rounds the books of frames and addresses are compared with the stores. A
//! program that ends must return to the heap what was allocated for it. Now and then all programs
//! are dropped, after which everything must be as it was at the start.
//!
//! The rounds depend only on the seed, and never on the clock. So the seed and the number of rounds
//! reproduce a failure.

mod guest;
mod ledger;
mod program;
mod script;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use kernel_demo::timer::{self, TickRate};
use kernel_demo::{ExitStatus, Machine, clock, errands, exit, println};
use palimpsest_engine::{Linker, StoreReport};
use palimpsest_paging::Policies;
use palimpsest_protocol::Soak;

use crate::fixture;
use crate::harness::{Checks, VmTest};
use crate::hostile::{World, linker};
use crate::random::Random;
use guest::{Guest, NotStarted};
use ledger::Ledger;
use program::{Program, Turn};

pub(crate) const TESTS: &[VmTest] =
    &[VmTest::new("random-programs-leave-everything-as-it-was", 1, for_a_while)];

/// The programs that are alive at once.
const MOST_PROGRAMS: usize = 12;

/// More small regions than these programs have.
const SMALL_REGIONS: usize = 100;

/// The rounds between two comparisons of the books.
const INTERVAL: u64 = 32;

/// The rounds after which all programs are dropped, on average.
const ROUNDS_OF_AN_AGE: u32 = 400;

/// The part of the heap that is set aside for the kernel.
const HEAP_RESERVE_DIVISOR: usize = 8;

/// The rounds of the test.
const ROUNDS_OF_TEST: u64 = 10_000;

/// What a run came to.
#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    rounds: u64,
    programs: u64,
    /// Programs that returned what they had to.
    returned: u64,
    /// Programs that trapped, or were stopped by a limit, as they had to.
    stopped: u64,
    /// Damaged modules that were not loaded or not instantiated.
    refused: u64,
    kills: u64,
    clears: u64,
    comparisons: u64,
    /// How often all programs were dropped.
    ages: u64,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rounds, programs, returned, stopped, refused, kills, clears, comparisons, ages } = self;
        write!(
            f,
            "{rounds} rounds, {programs} programs: {returned} returned, {stopped} were stopped, {refused} were \
             refused, {kills} were killed; {clears} clears by the host, {comparisons} comparisons, {ages} times empty"
        )
    }
}

/// Runs for the time or the rounds that `soak` states. Ends the machine at the first difference.
pub(crate) fn run(machine: &Machine, soak: &Soak) -> ExitStatus {
    let rate = timer::calibrate();
    let mut endurance = Endurance::new(machine, soak.seed);
    let (start, limit) = (clock::ticks(), rate.ticks_in(Duration::from_secs(soak.seconds)));
    let mut reported = 0;
    loop {
        let elapsed = clock::ticks() - start;
        if soak.rounds.map_or(elapsed >= limit, |rounds| endurance.figures.rounds >= rounds) {
            break;
        }
        endurance.round();
        report_every_minute(&endurance, rate, elapsed, &mut reported);
    }
    endurance.empty();
    println!("seed {}: {}", soak.seed, endurance.figures);
    endurance.print_longest(rate);
    ExitStatus::Success
}

fn report_every_minute(endurance: &Endurance<'_>, rate: TickRate, elapsed: u64, reported: &mut u64) {
    let minutes = elapsed / rate.ticks_in(Duration::from_secs(60)).max(1);
    if minutes > *reported {
        *reported = minutes;
        println!("{minutes} min: {}", endurance.figures);
        endurance.print_longest(rate);
    }
}

fn for_a_while(checks: &mut Checks, machine: &Machine) {
    let mut endurance = Endurance::new(machine, 1);
    while endurance.figures.rounds < ROUNDS_OF_TEST {
        endurance.round();
    }
    endurance.empty();
    println!("{}", endurance.figures);
    machine.reserve_heap(0).expect("nothing is set aside");
    checks.at_most("killed programs are some", 1, endurance.figures.kills);
    machine.space().set_policies(Policies::default());
}

/// The programs that are alive, and what must be true of the machine.
struct Endurance<'m> {
    machine: &'m Machine,
    seed: u64,
    random: Random,
    linker: Linker<World>,
    programs: Vec<Living>,
    ledger: Ledger,
    /// Keeps the list of small regions, which all programs share, as long as it ever was.
    _small: fixture::Guest,
    figures: Figures,
    /// The ticks of the longest turn, which depend on the machine's speed, and the guest that had
    /// it, unless that was a generated program.
    longest: (u64, Option<guest::Kind>),
}

/// A program that has not ended, and the bytes of heap that were allocated for it.
struct Living {
    program: Kind,
    heap_bytes: isize,
}

/// A program, by what is known of it.
enum Kind {
    /// A generated one, whose result is known.
    Script(Program),
    /// A guest of these tests with random arguments.
    Guest(Guest),
}

impl Kind {
    fn turn(&mut self, fuel: u64) -> Turn {
        match self {
            Self::Script(program) => errands::anywhere(|| program.turn(fuel)),
            Self::Guest(guest) => errands::anywhere(|| guest.turn(fuel)),
        }
    }

    /// See [`Program::touch`]. The memory of a guest is left alone.
    fn touch(&mut self, random: &mut Random) -> Result<bool, String> {
        match self {
            Self::Script(program) => program.touch(random),
            Self::Guest(_) => Ok(false),
        }
    }

    fn reclaim(&mut self, budget_frames: u64) {
        match self {
            Self::Script(program) => program.reclaim(budget_frames),
            Self::Guest(guest) => guest.reclaim(budget_frames),
        }
    }

    fn report(&self) -> StoreReport {
        match self {
            Self::Script(program) => program.report(),
            Self::Guest(guest) => guest.report(),
        }
    }
}

impl<'m> Endurance<'m> {
    fn new(machine: &'m Machine, seed: u64) -> Self {
        machine
            .reserve_heap(machine.heap().size_bytes / HEAP_RESERVE_DIVISOR)
            .expect("the heap is almost empty");
        let linker = linker();
        // Fills the lists that never shrink.
        let mut random = Random::new(!seed);
        let mut first: Vec<_> =
            (0..MOST_PROGRAMS).map(|_| Program::start(machine, &mut random).ok()).collect();
        first.iter_mut().flatten().for_each(|program| drop(program.turn(10_000)));
        drop(first);
        for _ in 0..MOST_PROGRAMS {
            drop(Guest::start(machine, &mut random, &linker).map(|mut guest| guest.turn(10_000)));
        }
        let small = fixture::Guest::new(machine, 1);
        drop((1..SMALL_REGIONS).map(|_| fixture::Guest::new(machine, 1)).collect::<Vec<_>>());
        let programs = Vec::with_capacity(MOST_PROGRAMS);
        let ledger = Ledger::of(machine);
        let random = Random::new(seed);
        let (figures, longest) = (Figures::default(), (0, None));
        Self { machine, seed, random, linker, programs, ledger, _small: small, figures, longest }
    }

    /// Returns the bytes of heap in use, without the reserve, which all programs share.
    fn heap_bytes(&self) -> usize {
        let heap = self.machine.heap();
        heap.used_bytes - heap.reserve_bytes
    }

    /// Runs `work`, and returns its result and the bytes of heap that it has allocated.
    fn measured<R>(&mut self, work: impl FnOnce(&mut Self) -> R) -> (R, isize) {
        let before = self.heap_bytes();
        let result = work(self);
        (result, self.heap_bytes().wrapping_sub(before).cast_signed())
    }

    /// Starts a program, runs one, kills one, or touches the memory of one.
    fn round(&mut self) {
        self.figures.rounds += 1;
        match self.random.below(16) {
            0..4 => self.start(),
            4 => self.kill(),
            5..8 => self.touch(),
            8 => self.reclaim(),
            _ => self.turn(),
        }
        if self.random.one_in(64) {
            let policies = if self.random.one_in(2) { Policies::OFF } else { Policies::default() };
            self.machine.space().set_policies(policies);
        }
        if self.figures.rounds.is_multiple_of(INTERVAL) {
            self.compare();
        }
        if self.random.one_in(ROUNDS_OF_AN_AGE) {
            self.empty();
        }
    }

    fn start(&mut self) {
        if self.programs.len() == MOST_PROGRAMS {
            return;
        }
        self.figures.programs += 1;
        let (started, heap_bytes) = self.measured(Self::try_start);
        match started {
            Ok(program) => self.programs.push(Living { program, heap_bytes }),
            Err(NotStarted::Refused) if heap_bytes == 0 => self.figures.refused += 1,
            Err(NotStarted::Refused) => {
                self.fail(&format!("a program that was refused has left {heap_bytes} bytes of heap"));
            }
            Err(NotStarted::Wrong(message)) => self.fail(&message),
        }
    }

    fn try_start(&mut self) -> Result<Kind, NotStarted> {
        if self.random.one_in(2) {
            Program::start(self.machine, &mut self.random).map(Kind::Script).map_err(NotStarted::Wrong)
        } else {
            Guest::start(self.machine, &mut self.random, &self.linker).map(Kind::Guest)
        }
    }

    /// Ends a program. What was allocated for it must be free.
    fn end(&mut self, index: usize) {
        let ended = self.programs.swap_remove(index);
        let allocated = ended.heap_bytes;
        let ((), heap_bytes) = self.measured(|_| drop(ended));
        if heap_bytes != -allocated {
            self.fail(&format!(
                "{allocated} bytes of heap were allocated for a program, and {} freed",
                -heap_bytes
            ));
        }
    }

    /// Chooses a program, or none if there is none.
    fn any(&mut self) -> Option<usize> {
        let count = u32::try_from(self.programs.len()).ok().filter(|count| *count > 0)?;
        Some(self.random.below(count) as usize)
    }

    fn kill(&mut self) {
        if let Some(index) = self.any() {
            self.end(index);
            self.figures.kills += 1;
        }
    }

    fn turn(&mut self) {
        let Some(index) = self.any() else { return };
        let fuel = 1 << (8 + self.random.below(12));
        let start = clock::ticks();
        let (turn, heap_bytes) = self.measured(|this| this.programs[index].program.turn(fuel));
        self.record_turn(index, clock::ticks() - start);
        self.programs[index].heap_bytes += heap_bytes;
        match turn {
            Turn::Runs => return,
            Turn::Returned => self.figures.returned += 1,
            Turn::Stopped => self.figures.stopped += 1,
            Turn::Wrong(message) => self.fail(&message),
        }
        self.end(index);
    }

    /// Keeps the longest turn.
    fn record_turn(&mut self, index: usize, ticks: u64) {
        if ticks > self.longest.0 {
            let kind = match &self.programs[index].program {
                Kind::Script(_) => None,
                Kind::Guest(guest) => Some(guest.kind()),
            };
            self.longest = (ticks, kind);
        }
    }

    fn print_longest(&self, rate: TickRate) {
        let (ticks, kind) = self.longest;
        let ms = ticks / rate.ticks_in(Duration::from_millis(1)).max(1);
        println!("the longest turn took {ms} ms: {kind:?}");
    }

    fn touch(&mut self) {
        let Some(index) = self.any() else { return };
        let (touched, heap_bytes) =
            self.measured(|this| this.programs[index].program.touch(&mut this.random));
        self.programs[index].heap_bytes += heap_bytes;
        match touched {
            Ok(cleared) => self.figures.clears += u64::from(cleared),
            Err(message) => self.fail(&message),
        }
    }

    fn reclaim(&mut self) {
        if let Some(index) = self.any() {
            let budget = u64::from(self.random.below(100));
            self.programs[index].program.reclaim(budget);
        }
    }

    /// Compares the books with the stores.
    fn compare(&mut self) {
        self.figures.comparisons += 1;
        let reports = self.programs.iter().map(|living| living.program.report());
        if let Err(message) = self.ledger.compare(self.machine, reports) {
            self.fail(&message);
        }
    }

    /// Drops all programs. Everything must be as it was before the first one.
    fn empty(&mut self) {
        self.figures.ages += 1;
        while let Some(last) = self.programs.len().checked_sub(1) {
            self.end(last);
        }
        if let Err(message) = self.ledger.compare_empty(self.machine) {
            self.fail(&message);
        }
    }

    fn fail(&self, message: &str) -> ! {
        println!("FAILED in round {} of seed {}: {message}", self.figures.rounds, self.seed);
        println!("{}", self.figures);
        println!("reproduce it with: cargo xtask soak --seed {} --rounds {}", self.seed, self.figures.rounds);
        exit(ExitStatus::GuestFailed)
    }
}
