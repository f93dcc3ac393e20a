//! The names of the files in the boot archive.

/// The [`Request`](crate::Request), as JSON. A kernel that finds none gives the tour.
pub const REQUEST: &str = "request.json";

/// The module that [`Task::Run`](crate::Task::Run) runs.
pub const GUEST: &str = "guest.wasm";

/// The files that the guest sees as `/`, a tar archive.
pub const ROOT: &str = "root.tar";

/// What the guest reads from its standard input.
pub const INPUT: &str = "stdin";

/// The snapshot that a [`SnapshotUse::Read`](crate::SnapshotUse::Read) starts from.
pub const SNAPSHOT: &str = "snapshot";

/// The PNG library that the tour demonstrates. The tour leaves that step out when the file is
/// absent.
pub const LODEPNG: &str = "lodepng.wasm";
