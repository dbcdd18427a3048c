//! SQLite's own VFS, but that the writing connection's frames go to the WAL together.
//!
//! SQLite writes a frame by two calls, 24 bytes and a page, and a commit by as many frames as pages have
//! changed: most of what such a commit costs is those calls. Here the bytes that follow each other wait
//! in memory until the frame that ends the transaction has come, and go by one. Every other file,
//! and every other connection, is served by SQLite alone.
//!
//! What must stay true: when the write of a commit's last frame returns, all of the transaction is in
//! the file, or SQLite has been told that it is not; for it is then that SQLite shows the commit to others.
//! And nothing waits when no commit is at work: whoever has given up the write lock must not write, for
//! another program's frames may be there by then. So the connection never spills pages before its commit
//! (`PRAGMA cache_spill`, off in `schema.rs`): SQLite then writes frames in one go, at the commit. What could not be
//! written is dropped, as SQLite rolls the transaction back.

#![allow(unsafe_code, reason = "SQLite asks for a VFS in C's terms")]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::size_of;
use std::ptr;
use std::sync::OnceLock;

use rusqlite::ffi;

use crate::store::schema::FRAME_HEADER_BYTES;

/// Its name, for `vfs=` in a URI.
pub(super) const NAME: &CStr = c"litecached";

/// More than this does not wait: a transaction of many pages is written in several calls. SQLite's own
/// VFS takes no more at once (`seekAndWriteFd` masks the length with it).
const GATHERED_BYTES_MAX: usize = 0x1_ffff;

/// Writes that wait for those behind them.
#[derive(Debug, Default)]
struct Gathered {
    bytes: Vec<u8>,
    /// Where the first of them belongs.
    offset: u64,
    /// Behind the last write, waiting or not. Only what begins here may wait: whatever else is written
    /// is none of a new transaction's frames.
    end: Option<u64>,
    /// The last write was the header of a frame that ends a transaction: with its page it is complete.
    is_last: bool,
}

impl Gathered {
    /// Takes a write. `write` brings bytes to their place in the file, or says why it cannot.
    fn write(
        &mut self,
        bytes: &[u8],
        offset: u64,
        mut write: impl FnMut(&[u8], u64) -> Result<(), c_int>,
    ) -> Result<(), c_int> {
        if self.end != Some(offset) || self.bytes.len() + bytes.len() > GATHERED_BYTES_MAX {
            self.flush(&mut write)?;
        }
        if self.end == Some(offset) && bytes.len() <= GATHERED_BYTES_MAX {
            if self.bytes.is_empty() {
                self.offset = offset;
            }
            self.bytes.extend_from_slice(bytes);
        } else {
            write(bytes, offset)?;
        }
        self.end = Some(offset + bytes.len() as u64);
        let was_last = std::mem::replace(&mut self.is_last, ends_transaction(bytes));
        if was_last && !self.is_last { self.flush(write) } else { Ok(()) }
    }

    /// Writes what waits, or drops it.
    fn flush(
        &mut self,
        mut write: impl FnMut(&[u8], u64) -> Result<(), c_int>,
    ) -> Result<(), c_int> {
        if self.bytes.is_empty() {
            return Ok(());
        }
        let written = write(&self.bytes, self.offset);
        self.bytes.clear();
        written
    }
}

/// Whether this is the header of a transaction's last frame: it has the size of the database in its
/// second word, where others have 0 (SQLite's file format, section 4.1).
fn ends_transaction(bytes: &[u8]) -> bool {
    bytes.len() as u64 == FRAME_HEADER_BYTES && bytes[4..8] != [0; 4]
}

/// What SQLite takes for its file: it reads the first field, and we what follows. Behind it is the file
/// of SQLite's own VFS.
#[repr(C)]
struct LogFile {
    base: ffi::sqlite3_file,
    gathered: *mut Gathered,
}

/// SQLite's own VFS, and its methods for the file behind ours.
struct Real {
    vfs: *mut ffi::sqlite3_vfs,
}

// SAFETY: a registered VFS is valid as long as the process is, and SQLite calls it from any thread.
unsafe impl Send for Real {}
// SAFETY: as above; nothing is written to it.
unsafe impl Sync for Real {}

static REAL: OnceLock<Option<Real>> = OnceLock::new();

/// Makes the VFS known to SQLite. Once is enough, more often does no harm. If that should fail, SQLite
/// will say that there is no such VFS.
pub(super) fn register() {
    REAL.get_or_init(|| {
        // SAFETY: the default VFS is found without a name; what is registered is never freed. A copy
        // of SQLite's own with another name and `xOpen` serves, as its methods use of the structure
        // only `pAppData` and `mxPathname`, which are the same.
        unsafe {
            let vfs = ffi::sqlite3_vfs_find(ptr::null());
            if vfs.is_null() || (*vfs).xOpen.is_none() {
                return None;
            }
            let mut ours = *vfs;
            ours.zName = NAME.as_ptr();
            ours.pNext = ptr::null_mut();
            ours.szOsFile += c_int::try_from(size_of::<LogFile>()).ok()?;
            ours.xOpen = Some(open);
            let ours = Box::leak(Box::new(ours));
            (ffi::sqlite3_vfs_register(ours, 0) == ffi::SQLITE_OK).then_some(Real { vfs })
        }
    });
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    // The first version has neither shared memory nor mappings, which SQLite wants of no WAL.
    iVersion: 1,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: None,
    xShmLock: None,
    xShmBarrier: None,
    xShmUnmap: None,
    xFetch: None,
    xUnfetch: None,
};

/// Calls a method of the file behind ours, which every VFS has.
macro_rules! real {
    ($file:expr, $method:ident $(, $argument:expr)*) => {{
        let real = behind($file);
        match (*(*real).pMethods).$method {
            Some(method) => method(real $(, $argument)*),
            None => ffi::SQLITE_IOERR,
        }
    }};
}

/// Where SQLite's own VFS has its file.
///
/// # Safety
///
/// `file` is one that [`open`] was given: there is room behind it.
unsafe fn behind(file: *mut ffi::sqlite3_file) -> *mut ffi::sqlite3_file {
    // SAFETY: `szOsFile` says that our part is there, and theirs behind it.
    unsafe { file.byte_add(size_of::<LogFile>()) }
}

/// Writes what waits.
///
/// # Safety
///
/// `file` is a WAL that [`open`] has opened.
unsafe fn flush(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: SQLite uses a file by one thread at a time; `gathered` lives until it is closed.
    unsafe {
        let gathered = &mut *(*file.cast::<LogFile>()).gathered;
        code(gathered.flush(|bytes, offset| write_through(file, bytes, offset)))
    }
}

/// # Safety
///
/// `file` is a WAL that [`open`] has opened.
unsafe fn write_through(
    file: *mut ffi::sqlite3_file,
    bytes: &[u8],
    offset: u64,
) -> Result<(), c_int> {
    let (Ok(length), Ok(offset)) = (c_int::try_from(bytes.len()), i64::try_from(offset)) else {
        return Err(ffi::SQLITE_IOERR_WRITE);
    };
    // SAFETY: as of this function; the bytes live as long as the call.
    match unsafe { real!(file, xWrite, bytes.as_ptr().cast(), length, offset) } {
        ffi::SQLITE_OK => Ok(()),
        code => Err(code),
    }
}

fn code(result: Result<(), c_int>) -> c_int {
    result.err().unwrap_or(ffi::SQLITE_OK)
}

unsafe extern "C" fn open(
    _vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    let Some(Some(Real { vfs })) = REAL.get() else { return ffi::SQLITE_CANTOPEN };
    // SAFETY: SQLite gives `szOsFile` bytes for the file, and what its own VFS wants besides.
    unsafe {
        let Some(real_open) = (**vfs).xOpen else { return ffi::SQLITE_CANTOPEN };
        if flags & ffi::SQLITE_OPEN_WAL == 0 {
            return real_open(*vfs, name, file, flags, out_flags);
        }
        let ours = file.cast::<LogFile>();
        (*ours).base.pMethods = ptr::null();
        let code = real_open(*vfs, name, behind(file), flags, out_flags);
        if code == ffi::SQLITE_OK {
            (*ours).gathered = Box::into_raw(Box::default());
            (*ours).base.pMethods = &raw const METHODS;
        }
        code
    }
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: SQLite closes a file once, and uses it no more.
    unsafe {
        let flushed = flush(file);
        drop(Box::from_raw((*file.cast::<LogFile>()).gathered));
        let closed = real!(file, xClose);
        if flushed == ffi::SQLITE_OK { closed } else { flushed }
    }
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    bytes: *const c_void,
    length: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    let (Ok(length), Ok(offset)) = (usize::try_from(length), u64::try_from(offset)) else {
        return ffi::SQLITE_IOERR_WRITE;
    };
    // SAFETY: SQLite gives so many bytes, and uses a file by one thread at a time.
    unsafe {
        let bytes = std::slice::from_raw_parts(bytes.cast::<u8>(), length);
        let gathered = &mut *(*file.cast::<LogFile>()).gathered;
        code(gathered.write(bytes, offset, |bytes, offset| write_through(file, bytes, offset)))
    }
}

/// A method that needs the file as SQLite believes it to be.
macro_rules! after_flush {
    ($($name:ident => $method:ident($($argument:ident: $type:ty),*);)*) => {$(
        unsafe extern "C" fn $name(file: *mut ffi::sqlite3_file $(, $argument: $type)*) -> c_int {
            // SAFETY: SQLite gives what the method of its own VFS takes.
            unsafe {
                match flush(file) {
                    ffi::SQLITE_OK => real!(file, $method $(, $argument)*),
                    code => code,
                }
            }
        }
    )*};
}

after_flush! {
    read => xRead(bytes: *mut c_void, length: c_int, offset: ffi::sqlite3_int64);
    truncate => xTruncate(length: ffi::sqlite3_int64);
    sync => xSync(flags: c_int);
    file_size => xFileSize(length: *mut ffi::sqlite3_int64);
    lock => xLock(level: c_int);
    unlock => xUnlock(level: c_int);
    check_reserved_lock => xCheckReservedLock(out: *mut c_int);
    file_control => xFileControl(operation: c_int, argument: *mut c_void);
}

unsafe extern "C" fn sector_size(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: as SQLite's own method.
    unsafe { real!(file, xSectorSize) }
}

unsafe extern "C" fn device_characteristics(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: as SQLite's own method.
    unsafe { real!(file, xDeviceCharacteristics) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file in memory that can be full.
    #[derive(Default)]
    struct Disk {
        bytes: Vec<u8>,
        calls: usize,
        is_full: bool,
    }

    impl Disk {
        fn write(&mut self, bytes: &[u8], offset: u64) -> Result<(), c_int> {
            if self.is_full {
                return Err(ffi::SQLITE_FULL);
            }
            self.calls += 1;
            let from = usize::try_from(offset).expect("it is small");
            let to = from + bytes.len();
            self.bytes.resize(self.bytes.len().max(to), 0);
            self.bytes[from..to].copy_from_slice(bytes);
            Ok(())
        }
    }

    const HEADER: usize = 24;
    const PAGE: usize = 512;
    const FRAME: usize = PAGE + HEADER;

    fn header(size: u8) -> [u8; HEADER] {
        let mut header = [7; HEADER];
        header[4..8].copy_from_slice(&[0, 0, 0, size]);
        header
    }

    /// Writes frames as SQLite does, the last of them ending the transaction or not.
    fn frames(
        log: &mut Gathered,
        disk: &mut Disk,
        at: &mut u64,
        pages: &[u8],
        size: u8,
    ) -> Result<(), c_int> {
        for (index, page) in pages.iter().enumerate() {
            let size = if index + 1 == pages.len() { size } else { 0 };
            log.write(&header(size), *at, |bytes, offset| disk.write(bytes, offset))?;
            *at += HEADER as u64;
            log.write(&[*page; PAGE], *at, |bytes, offset| disk.write(bytes, offset))?;
            *at += PAGE as u64;
        }
        Ok(())
    }

    #[test]
    fn a_commit_is_one_write_and_complete_when_it_returns() {
        let (mut log, mut disk, mut at) = (Gathered::default(), Disk::default(), 0);
        // Where the log ends is known after the first write.
        frames(&mut log, &mut disk, &mut at, &[1, 2, 3], 9).expect("room");
        assert_eq!((disk.calls, disk.bytes.len()), (2, 3 * FRAME));
        frames(&mut log, &mut disk, &mut at, &[4; 40], 9).expect("room");
        assert_eq!((disk.calls, disk.bytes.len()), (3, 43 * FRAME));
        assert!(disk.bytes[42 * FRAME + 24..].iter().all(|&byte| byte == 4));
    }

    #[test]
    fn a_long_transaction_waits_in_bounded_memory() {
        let (mut log, mut disk, mut at) = (Gathered::default(), Disk::default(), 0);
        let pages = vec![5; 4 * GATHERED_BYTES_MAX / FRAME];
        frames(&mut log, &mut disk, &mut at, &pages, 0).expect("room");
        assert!(log.bytes.capacity() <= 2 * GATHERED_BYTES_MAX, "{}", log.bytes.capacity());
        assert!((4..8).contains(&disk.calls), "{}", disk.calls);
        frames(&mut log, &mut disk, &mut at, &[6], 9).expect("room");
        assert_eq!(disk.bytes.len() as u64, at);
    }

    #[test]
    fn what_does_not_follow_is_written_at_its_place_and_in_its_turn() {
        let (mut log, mut disk, mut at) = (Gathered::default(), Disk::default(), 0);
        frames(&mut log, &mut disk, &mut at, &[1, 2, 3], 0).expect("room");
        // A page of a frame that may still be waiting is written again.
        let second = (FRAME + 24) as u64;
        log.write(&[8; PAGE], second, |bytes, offset| disk.write(bytes, offset)).expect("room");
        assert!(disk.bytes[FRAME + 24..2 * FRAME].iter().all(|&byte| byte == 8));
        assert_eq!(disk.bytes.len() as u64, at);
        // A rollback: the next transaction begins where that one did.
        at = 0;
        frames(&mut log, &mut disk, &mut at, &[9], 9).expect("room");
        assert!(disk.bytes[24..FRAME].iter().all(|&byte| byte == 9));
    }

    #[test]
    fn after_a_failed_write_the_log_goes_on_where_sqlite_has_rolled_back_to() {
        let (mut log, mut disk, mut at) = (Gathered::default(), Disk::default(), 0);
        frames(&mut log, &mut disk, &mut at, &[1], 9).expect("room");
        let committed = at;
        frames(&mut log, &mut disk, &mut at, &[2], 0).expect("it waits");
        disk.is_full = true;
        assert_eq!(frames(&mut log, &mut disk, &mut at, &[3], 9), Err(ffi::SQLITE_FULL));
        disk.is_full = false;
        log.flush(|bytes, offset| disk.write(bytes, offset)).expect("nothing waits");
        assert_eq!(disk.bytes.len(), FRAME, "nothing of what failed comes later");
        at = committed;
        frames(&mut log, &mut disk, &mut at, &[5], 9).expect("room");
        assert_eq!(disk.bytes.len(), 2 * FRAME);
        assert!(disk.bytes[FRAME + HEADER..].iter().all(|&byte| byte == 5));
    }
}
