//! Results on their way to whoever asked.

use corelode_engine::env::Environment;
use corelode_net::body::{Found, GetReply, Receipt, ScanPageWriter, ScanRow, Value, WriteReply};
use corelode_net::table::{ErrorReply, LeaderHint, TableBuilder};
use corelode_net::{ErrorCode, NodeId, ReplyHead, Revision, SnapshotToken};

use super::execute::durability_on_wire;
use super::stages::Arrival;
use super::{ClientReply, ConnectionId, Core, OperationResult, ReplyTo, ScanPageResult, Shard};
use crate::message::Message;

/// What a read counts as in flight once its answer comes later than the request was looked at. Answers are smaller as a rule, and may be four times
/// as large: the bounds of bytes in flight are kept up to that factor.
const LATE_ANSWER_SIZE_BYTES: usize = 256 * 1024;

impl<E: Environment> Shard<E> {
    /// Counts a request in: from here until its [answer](Self::answer) it is in flight.
    pub(super) fn begin_request(
        &mut self,
        connection: ConnectionId,
        head: ReplyHead,
        size_bytes: usize,
    ) -> ClientReply {
        self.counters.requests += 1;
        self.bytes_in_flight += size_bytes;
        let mut arrival = Arrival { received_ns: 0, taken_ns: self.now.monotonic_ns, had_room_ns: 0 };
        if let Some(connection) = self.connections.get_mut(connection.0) {
            connection.requests_in_flight += 1;
            connection.bytes_in_flight += size_bytes;
            arrival.received_ns = connection.received_ns;
        }
        ClientReply {
            connection,
            head,
            size_bytes,
            is_answer_counted: false,
            timed: None,
            arrival,
            wants_receipt: false,
        }
    }

    /// Counts the answer to come as in flight, too: it may be large, and once it comes nobody asks whether the client takes its answers. A request
    /// that is answered at once needs none of this, since the next one waits for room.
    pub(super) fn with_answer_in_flight(&mut self, mut client: ClientReply) -> ClientReply {
        if !std::mem::replace(&mut client.is_answer_counted, true) {
            client.size_bytes += LATE_ANSWER_SIZE_BYTES;
            self.bytes_in_flight += LATE_ANSWER_SIZE_BYTES;
            if let Some(connection) = self.connections.get_mut(client.connection.0) {
                connection.bytes_in_flight += LATE_ANSWER_SIZE_BYTES;
            }
        }
        client
    }

    /// Counts a request out and encodes its answer. A connection that is gone by now gets none.
    pub(super) fn answer(&mut self, client: ClientReply, encode: impl FnOnce(&mut TableBuilder, &mut Vec<u8>)) {
        let limits = self.config.limits;
        let was_full = self.bytes_in_flight >= limits.bytes_in_flight_max;
        self.bytes_in_flight -= client.size_bytes;
        if was_full && self.bytes_in_flight < limits.bytes_in_flight_max {
            self.resume_stalled();
        }
        let Some(connection) = self.connections.get_mut(client.connection.0) else { return };
        connection.requests_in_flight -= 1;
        connection.bytes_in_flight -= client.size_bytes;
        if let Some(operation) = client.timed
            && self.are_stages_counted
        {
            connection.departures.add(operation, client.arrival, self.cause);
        }
        let (start, mut has_receipt) = (connection.output.len(), false);
        self.append_output(client.connection, |tables, output| {
            encode(tables, output);
            has_receipt = client.wants_receipt && output.len() > start && Receipt::reserve(output, start);
        });
        if has_receipt && let Some(connection) = self.connections.get_mut(client.connection.0) {
            connection.departures.add_receipt(start, client.arrival, self.cause);
        }
        let Some(connection) = self.connections.get_mut(client.connection.0) else { return };
        let goes_on = connection.is_paused && connection.has_room(&limits.connection);
        self.list_writable(client.connection);
        if goes_on {
            self.list_ready(client.connection);
        }
    }

    /// Adds to what is sent on a connection; nothing if it is gone.
    pub(super) fn append_output(&mut self, id: ConnectionId, encode: impl FnOnce(&mut TableBuilder, &mut Vec<u8>)) {
        let Some(connection) = self.connections.get_mut(id.0) else { return };
        let before = connection.output.len();
        encode(&mut self.tables, &mut connection.output);
        self.output_bytes += connection.output.len() - before;
        self.list_writable(id);
    }

    /// The result for another core, or a refusal if too many bytes of values wait for that core already.
    fn fit_outbox(&mut self, core: Core, result: OperationResult<&[u8]>) -> OperationResult<Vec<u8>> {
        /// Waiting for one core.
        const VALUE_BYTES_MAX: usize = 32 * 1024 * 1024;
        let length = match &result {
            OperationResult::Found { value, .. } => value.len(),
            OperationResult::Page(page) => page.size_bytes(),
            _ => 0,
        };
        let waiting = &mut self.outbox_value_bytes[usize::from(core.0)];
        if self.outbox[usize::from(core.0)].is_empty() {
            *waiting = 0;
        }
        if length > 0 && *waiting + length > VALUE_BYTES_MAX {
            return OperationResult::Failed(ErrorCode::Overloaded.into());
        }
        *waiting += length;
        result.into_owned()
    }

    /// Sends a result where it belongs. A connection that is gone by now gets nothing.
    pub(super) fn deliver(&mut self, reply_to: ReplyTo, result: OperationResult<&[u8]>) {
        if let OperationResult::Failed(failure) = &result {
            self.counters.errors += 1;
            self.counters.overloaded += u64::from(failure.code == ErrorCode::Overloaded);
        }
        match reply_to {
            ReplyTo::Client(client) => {
                self.answer(client, |tables, output| encode_result(client.head, &result, tables, output));
            }
            ReplyTo::Batch { batch, ordinal } => self.batch_item_done(batch, ordinal, result.into_owned()),
            ReplyTo::Peer { core, token } => {
                let result = self.fit_outbox(core, result);
                self.send(core, Message::Result { token, result });
            }
        }
    }
}

fn encode_result(head: ReplyHead, result: &OperationResult<&[u8]>, tables: &mut TableBuilder, output: &mut Vec<u8>) {
    match result {
        OperationResult::Found { revision, deadline_ms, value_crc, value } => {
            let value = Value { bytes: value, crc: *value_crc };
            let found = Found { revision: Revision(revision.0), deadline_ms: *deadline_ms, value };
            GetReply::Found(found).encode(head, output);
        }
        OperationResult::Absent => GetReply::Absent.encode(head, output),
        OperationResult::Written { revision, durability } => {
            let durability = durability_on_wire(*durability);
            WriteReply { revision: Revision(revision.0), durability }.encode(head, output);
        }
        OperationResult::Page(page) => encode_page(head, page, tables, output),
        OperationResult::Done => corelode_net::table::encode_empty_reply(head, output),
        OperationResult::Failed(failure) => {
            let error = match &failure.message {
                Some(message) => ErrorReply::with_message(failure.code, message),
                None => ErrorReply::new(failure.code),
            };
            let address = failure.leader.map_or(String::new(), |leader| leader.address.to_string());
            let leader = failure.leader.map(|leader| LeaderHint { node_id: NodeId(leader.node.0), address: &address });
            ErrorReply { resume_key: &failure.resume_key, leader, ..error }.encode(head, tables, output);
        }
    }
}

fn encode_page(head: ReplyHead, page: &ScanPageResult, tables: &mut TableBuilder, output: &mut Vec<u8>) {
    let mut writer = ScanPageWriter::begin(output, head, 0, 0);
    let mut resume_key = (!page.is_done).then_some(page.resume_key.as_slice());
    for (row, key, bytes) in page.rows() {
        let value = Value { bytes, crc: row.value_crc };
        let revision = Revision(row.revision.0);
        if !writer.push(&ScanRow { key, revision, deadline_ms: row.deadline_ms, value }) {
            resume_key = Some(key);
            break;
        }
    }
    writer.finish(Revision(page.revision.0), SnapshotToken(page.snapshot), resume_key, tables);
}
