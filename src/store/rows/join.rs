//! Values in pieces inside a transaction: taking in what has arrived, making one list of two, and letting
//! pieces go.

use rusqlite::{Connection, OptionalExtension, params};

use crate::cache::{Content, Op, Pieces, Run};
use crate::store::list;
use crate::store::rows::{Changes, Rows};
use crate::store::shared::Shared;
use crate::store::sql;

impl Rows<'_> {
    /// Pieces that an operation brings are loose no more. Whether they were.
    pub(super) fn take_in(&self, op: &Op, changes: &mut Changes) -> rusqlite::Result<bool> {
        let Op::Store(_, Content::Large(pieces)) = op else { return Ok(true) };
        let id = pieces.runs()[0].first;
        let taken = self.db.prepare_cached(sql::NOT_LOOSE)?.execute([id])?;
        changes.arrived.push(id);
        changes.arrived_bytes += pieces.bytes().cast_signed();
        Ok(taken == 1)
    }

    pub(super) fn write_pieces(&self, bytes: &[u8]) -> rusqlite::Result<Run> {
        let run = self.shared.large.ids(bytes.len() as u64);
        let mut write = self.db.prepare_cached(sql::WRITE_PIECE)?;
        for (id, piece) in (run.first..).zip(bytes.chunks(self.shared.large.piece_bytes)) {
            write.execute(params![id, piece])?;
        }
        Ok(run)
    }

    /// Makes one list of two values. Where the shorter one is bytes, and fits into the piece beside it, a
    /// new piece takes that one's place, so that however often something is appended, two pieces side by
    /// side have more bytes than one holds, and the list stays short.
    pub(super) fn join(
        &self,
        [first, second]: [Content; 2],
        changes: &mut Changes,
    ) -> rusqlite::Result<Pieces> {
        let (mut front, mut back) = match (first, second) {
            (Content::Large(first), Content::Large(second)) => {
                (first.runs().to_vec(), second.runs().to_vec())
            }
            (Content::Large(first), Content::Whole(second)) => {
                let mut front = first.runs().to_vec();
                let mut bytes = Vec::new();
                if let Some(run) = front.last_mut()
                    && let Some(piece) = self.piece_beside(run, run.last(), second.len())?
                {
                    let dropped = Run { first: run.last(), count: 1, bytes: piece.len() as u64 };
                    (run.count, run.bytes) = (run.count - 1, run.bytes - dropped.bytes);
                    loosen(self.db, self.shared, &[dropped], changes)?;
                    bytes = piece;
                }
                bytes.extend_from_slice(second.bytes());
                (front, self.new_run(&bytes)?)
            }
            (Content::Whole(first), Content::Large(second)) => {
                let mut back = second.runs().to_vec();
                let mut bytes = first.bytes().to_vec();
                if let Some(run) = back.first_mut()
                    && let Some(piece) = self.piece_beside(run, run.first, first.len())?
                {
                    let dropped = Run { first: run.first, count: 1, bytes: piece.len() as u64 };
                    *run = Run {
                        first: run.first + 1,
                        count: run.count - 1,
                        bytes: run.bytes - dropped.bytes,
                    };
                    loosen(self.db, self.shared, &[dropped], changes)?;
                    bytes.extend_from_slice(&piece);
                }
                (self.new_run(&bytes)?, back)
            }
            (Content::Whole(first), Content::Whole(second)) => {
                (self.new_run(&[first.bytes(), second.bytes()].concat())?, Vec::new())
            }
        };
        front.append(&mut back);
        front.retain(|run| run.count > 0);
        Ok(Pieces::new(front))
    }

    /// The piece with this id of a run, if it has room for so many bytes more.
    fn piece_beside(&self, run: &Run, id: i64, more: usize) -> rusqlite::Result<Option<Vec<u8>>> {
        if more == 0 {
            return Ok(None);
        }
        let mut read = self.db.prepare_cached(sql::READ_PIECE)?;
        let piece: Option<Vec<u8>> = read.query_row([id], |row| row.get(0)).optional()?;
        // A run that does not add up is left as it is: its readers will find out.
        let adds_up = |piece: &Vec<u8>| match run.bytes.checked_sub(piece.len() as u64) {
            Some(rest) => (rest == 0) == (run.count == 1),
            None => false,
        };
        let fits = |piece: &Vec<u8>| piece.len() + more <= self.shared.large.piece_bytes;
        Ok(piece.filter(|piece| adds_up(piece) && fits(piece)))
    }

    fn new_run(&self, bytes: &[u8]) -> rusqlite::Result<Vec<Run>> {
        if bytes.is_empty() { Ok(Vec::new()) } else { Ok(vec![self.write_pieces(bytes)?]) }
    }
}

/// Bytes of pieces that an operation brings: the file has them already.
pub(super) fn written_before(op: &Op) -> i64 {
    match op {
        Op::Store(_, Content::Large(pieces)) => pieces.bytes().cast_signed(),
        _ => 0,
    }
}

/// Notes pieces that no item has from now on.
pub(super) fn loosen(
    db: &Connection,
    shared: &Shared,
    runs: &[Run],
    changes: &mut Changes,
) -> rusqlite::Result<()> {
    let loose = params![runs[0].first, list::write(runs)];
    db.prepare_cached(sql::LOOSEN)?.execute(loose)?;
    changes.loosened = true;
    let leaving = shared.large.leaving_of(runs);
    changes.leaving.push((runs[0].first, leaving));
    changes.loose.push(runs.into());
    Ok(())
}
