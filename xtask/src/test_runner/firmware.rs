//! The example of firmware, with one boot on each board.
//!
//! It ends like the other emulator tests, with a status and the number of its checks. A board whose
//! emulator cannot be had is skipped with the command that installs it; in CI that is a failure.

use super::judge::time_limit;
use super::vm::Boot;
use anyhow::Result;
use palimpsest_host::board::Board;
use palimpsest_host::protocol::Expected;
use palimpsest_host::setup::{self, MissingPolicy};
use palimpsest_host::tally::Tally;
use palimpsest_host::workspace::{WITHOUT_LTO, Workspace};

/// The checks in the example's sources. The Cortex-M4 has a memory protection unit, and more of
/// them.
const fn checks(board: Board) -> u32 {
    match board {
        Board::CortexM4 => 44,
        Board::Riscv32 => 24,
    }
}

/// Runs the boots whose names contain `filter`. If one passes, `on_line` gets each line of its
/// output.
///
/// # Errors
/// QEMU cannot be started or listened to. An example that does not build is a failed test.
pub(super) fn run(
    workspace: &Workspace,
    filter: &str,
    policy: MissingPolicy,
    mut on_line: impl FnMut(&str),
) -> Result<Tally> {
    let mut tally = Tally::default();
    for board in Board::ALL {
        let name = format!("firmware/{board}");
        if !name.contains(filter) {
            continue;
        }
        let output = run_one(workspace, board, &format!("vm/{name}"), policy, &mut tally)?;
        output.lines().for_each(&mut on_line);
    }
    Ok(tally)
}

/// Builds and boots the example on one board. Returns what it printed if it passed.
fn run_one(
    workspace: &Workspace,
    board: Board,
    name: &str,
    policy: MissingPolicy,
    tally: &mut Tally,
) -> Result<String> {
    match setup::require(workspace, &board.needs(), policy) {
        Ok(()) => {}
        Err(error) if setup::in_ci() => {
            tally.fail(&name, &format_args!("{error:#}"), "");
            return Ok(String::new());
        }
        Err(error) => {
            println!("skipped {name}: {error:#}");
            return Ok(String::new());
        }
    }
    let image = match board.build(workspace, "palimpsest-firmware", "firmware", &[], WITHOUT_LTO) {
        Ok(image) => image,
        Err(error) => {
            tally.fail(&name, &format_args!("{error:#}"), "");
            return Ok(String::new());
        }
    };
    let expected = Expected::Checks(checks(board));
    let boot = Boot::record(|on_line| board.boot(&image, &[], time_limit(&expected), on_line))?;
    Ok(boot.conclude(name, &expected, tally))
}
