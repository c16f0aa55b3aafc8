//! Carrying out operations on the store, and waiting where the store says so.

use corelode_engine::cursor::Stop;
use corelode_engine::env::Environment;
use corelode_engine::error::Corruption;
use corelode_engine::partition::{Durability, ExceptionKind, Write, WriteChange};
use corelode_engine::table::BlockRead;
use corelode_net::ErrorCode;

use super::waiting::{AheadRead, OnceDurable, Parked, WriteWaiter};
use super::{ClientReply, ForwardToken, Operation, OperationResult, ReadLevel, ReplyTo, Request, Shard};
use crate::message::Message;

impl<E: Environment> Shard<E> {
    /// Carries out an operation here, or has the core do it that owns the partition.
    pub(super) fn execute(&mut self, request: Request, operation: Operation<&[u8]>) {
        if self.config.map.owner(request.partition) != self.config.core {
            self.forward(request, operation);
            return;
        }
        if self.is_admitted(request, &operation) {
            self.execute_here(request, operation);
        }
    }

    /// Carries out an operation that nothing stands in the way of.
    pub(super) fn execute_here(&mut self, request: Request, operation: Operation<&[u8]>) {
        match operation {
            Operation::Get { key, level } => self.get(request, key, level),
            Operation::Scan(page) => self.scan(request, *page),
            Operation::ReleaseSnapshot { snapshot } => self.release_snapshot(request, snapshot),
            write => self.write(request, write),
        }
    }

    fn forward(&mut self, request: Request, operation: Operation<&[u8]>) {
        let owner = self.config.map.owner(request.partition);
        if self.outbox[usize::from(owner.0)].len() >= self.config.limits.outbox_max {
            self.deliver(request.reply_to, OperationResult::Failed(ErrorCode::Overloaded.into()));
            return;
        }
        self.counters.forwarded += 1;
        let mut request = request;
        if operation.is_read() {
            self.charge_answer(&mut request.reply_to);
        }
        let token = self.next_token();
        self.forwarded.insert(token, request.reply_to);
        let message = Message::Forward {
            from: self.config.core,
            token,
            partition: request.partition,
            remaining_ms: request.deadline_ms.saturating_sub(self.now.monotonic_ms),
            operation: operation.into_owned(),
        };
        self.send(owner, message);
    }

    pub(super) fn next_token(&mut self) -> ForwardToken {
        self.token_last += 1;
        ForwardToken(self.token_last)
    }

    fn get(&mut self, request: Request, key: &[u8], level: ReadLevel) {
        self.counters.gets += 1;
        let mut value = std::mem::take(&mut self.scratch);
        value.clear();
        match self.store.get(request.partition, key, &mut value) {
            Ok(answer) => {
                let result = match answer.found {
                    Some(found) => OperationResult::Found {
                        revision: found.revision,
                        deadline_ms: found.deadline.map_or(0, |deadline| deadline.0),
                        value_crc: found.value_crc,
                        value: value.as_slice(),
                    },
                    None => OperationResult::Absent,
                };
                if answer.is_durable || level == ReadLevel::Local {
                    self.deliver(request.reply_to, result);
                } else {
                    self.wait_for_durability(request, OnceDurable::Answer(result.into_owned()));
                }
            }
            Err(stop) => self.park(request, Operation::Get { key, level }, stop),
        }
        self.scratch = value;
    }

    /// Counts the answer to come as in flight, on the core that has the client.
    fn charge_answer(&mut self, reply_to: &mut ReplyTo) {
        const LIVES: &str = "a batch lives until its last item is done";
        match reply_to {
            ReplyTo::Client(client) => *client = self.with_answer_in_flight(*client),
            ReplyTo::Batch { batch, .. } => {
                let client = self.with_answer_in_flight(self.batches.get(batch).expect(LIVES).client);
                self.batches.get_mut(batch).expect(LIVES).client = client;
            }
            ReplyTo::Peer { .. } => {}
        }
    }

    /// What was seen may yet be taken back by a crash: the read goes on once everything applied now is durable.
    pub(super) fn wait_for_durability(&mut self, request: Request, then: OnceDurable) {
        let partition = self.store.partition(request.partition).expect("owned partitions are executed here");
        let index = partition.applied().index;
        if let Some(refused) = self.durability.push(index, AheadRead { request, then }) {
            self.deliver(refused.request.reply_to, OperationResult::Failed(ErrorCode::Overloaded.into()));
        }
    }

    fn park(&mut self, request: Request, operation: Operation<&[u8]>, stop: Stop<E::File>) {
        match stop {
            Stop::Miss(read) => self.wait_for_block(request, operation, *read),
            Stop::Corruption(corruption) => self.fail_damaged(request, &corruption),
        }
    }

    /// The read goes on once the block is there.
    pub(super) fn wait_for_block(&mut self, request: Request, operation: Operation<&[u8]>, read: BlockRead<E::File>) {
        let mut request = request;
        self.charge_answer(&mut request.reply_to);
        let key = (read.seed, read.handle.offset);
        self.request_block(read);
        let parked = Parked { request, operation: operation.into_owned() };
        self.block_waiters.entry(key).or_default().push(parked);
    }

    pub(super) fn fail_damaged(&mut self, request: Request, corruption: &Corruption) {
        tracing::error!(%corruption, "a read met damage");
        let failure = self.damage_failure(request.partition, corruption.to_string());
        self.deliver(request.reply_to, OperationResult::Failed(failure));
    }

    /// Asks the driver for a block, unless it was asked for already.
    pub(super) fn request_block(&mut self, read: BlockRead<E::File>) {
        let waiting = self.block_waiters.entry((read.seed, read.handle.offset));
        if matches!(waiting, std::collections::btree_map::Entry::Vacant(_)) {
            waiting.or_default();
            self.block_reads.push(read);
        }
    }

    fn write(&mut self, request: Request, operation: Operation<&[u8]>) {
        if !self.blocked.is_empty() || !self.try_write(request, &operation) {
            self.block(request, operation);
        }
    }

    /// Proposes a write; answers whether the store took it.
    fn try_write(&mut self, request: Request, operation: &Operation<&[u8]>) -> bool {
        let (write, durability) = match *operation {
            Operation::Put { key, value, value_crc, ttl_ms, durability, session } => {
                (Write { key, change: WriteChange::Put { value, value_crc, ttl_ms }, session }, durability)
            }
            Operation::Delete { key, durability, session } => {
                (Write { key, change: WriteChange::Delete, session }, durability)
            }
            Operation::OpenSession { ttl_ms } => {
                let change = WriteChange::OpenSession { ttl_ms };
                (Write { key: &[], change, session: None }, Durability::Synced)
            }
            Operation::CloseSession { session } => {
                let change = WriteChange::CloseSession { session };
                (Write { key: &[], change, session: None }, Durability::Synced)
            }
            Operation::Get { .. } | Operation::Scan(_) | Operation::ReleaseSnapshot { .. } => {
                unreachable!("only writes are written")
            }
        };
        let Ok(proposal) = self.store.propose(request.partition, &write, durability, self.now.wall_ms) else {
            return false;
        };
        match write.change {
            WriteChange::Put { .. } => self.counters.puts += 1,
            WriteChange::Delete => self.counters.deletes += 1,
            WriteChange::OpenSession { .. } | WriteChange::CloseSession { .. } => {}
        }
        let Request { reply_to, deadline_ms, .. } = request;
        let waiter = WriteWaiter { ordinal: proposal.ordinal, durability, deadline_ms, reply_to };
        self.writes.push(request.partition, proposal, waiter);
        true
    }

    /// The store is at a bound: the write waits for room until its deadline, or is refused if too many wait.
    fn block(&mut self, request: Request, operation: Operation<&[u8]>) {
        let refused = self.blocked.push(Parked { request, operation: operation.into_owned() });
        if let Some(Parked { request, .. }) = refused {
            self.deliver(request.reply_to, OperationResult::Failed(ErrorCode::Overloaded.into()));
        }
    }

    pub(super) fn retry_blocked(&mut self) {
        while let Some(parked) = self.blocked.pop() {
            // Whoever came in this very turn has waited for nothing.
            let request = self.with_room_since_now(parked.request);
            if !self.try_write(request, &parked.operation.borrowed()) {
                self.blocked.push_front(parked);
                return;
            }
        }
    }

    /// The request, whose wait for room ends now. That of a batch ends with the last of its items that waited; that of another core's is part of what
    /// that core waits for.
    fn with_room_since_now(&mut self, request: Request) -> Request {
        let now_ns = self.now.monotonic_ns;
        let reply_to = match request.reply_to {
            ReplyTo::Client(client) => {
                ReplyTo::Client(ClientReply { arrival: client.arrival.with_room_at(now_ns), ..client })
            }
            ReplyTo::Batch { batch, ordinal } => {
                let gathering = self.batches.get_mut(&batch).expect("a batch lives until its last item is done");
                gathering.client.arrival = gathering.client.arrival.with_room_at(now_ns);
                ReplyTo::Batch { batch, ordinal }
            }
            peer @ ReplyTo::Peer { .. } => peer,
        };
        Request { reply_to, ..request }
    }

    /// Answers the writes, and lets the reads go on, that what has become durable or applied allows.
    pub(super) fn settle_outcomes(&mut self) {
        let mut ready = Vec::new();
        for outcome in std::mem::take(&mut self.outcomes) {
            let mut answered = Vec::new();
            self.writes.resolve(&outcome, |waiter| answered.push(waiter));
            let cause = self.cause;
            if let Some(times) = self.store_times.get_mut(&outcome.partition) {
                self.cause = times.cause(outcome.index, outcome.is_durable, self.now.monotonic_ns);
            }
            for WriteWaiter { ordinal, durability, reply_to, .. } in answered {
                let exception = outcome.exceptions.binary_search_by_key(&ordinal, |exception| exception.ordinal);
                let result = match exception.map(|place| outcome.exceptions[place].kind) {
                    Err(_) => {
                        let revision = corelode_engine::ids::Revision(outcome.first_revision.0 + u64::from(ordinal));
                        OperationResult::Written { revision, durability }
                    }
                    Ok(ExceptionKind::Repeated { revision }) => OperationResult::Written { revision, durability },
                    Ok(ExceptionKind::SessionExpired) => OperationResult::Failed(ErrorCode::SessionExpired.into()),
                    Ok(ExceptionKind::SequenceReused) => OperationResult::Failed(ErrorCode::SequenceReused.into()),
                };
                self.deliver(reply_to, result);
            }
            self.cause = cause;
            if outcome.is_durable {
                self.durability.resolve(outcome.partition, outcome.index, &mut ready);
            }
        }
        for AheadRead { request, then } in ready {
            match then {
                OnceDurable::Answer(result) => self.deliver(request.reply_to, result.borrowed()),
                OnceDurable::Scan(page) => self.scan(request, *page),
            }
        }
    }

    /// Answers what has waited past its deadline.
    pub(super) fn expire_waiting(&mut self) {
        let now_ms = self.now.monotonic_ms;
        let mut answers = Vec::new();
        self.writes.expire(now_ms, |waiter| answers.push((waiter.reply_to, ErrorCode::OutcomeUnknown)));
        let mut given_up = Vec::new();
        self.blocked.expire(now_ms, |parked| given_up.push(parked.request));
        for request in given_up {
            answers.push((self.with_room_since_now(request).reply_to, ErrorCode::Overloaded));
        }
        self.durability.expire(now_ms, |read| answers.push((read.request.reply_to, ErrorCode::DeadlineExceeded)));
        for waiting in self.block_waiters.values_mut() {
            for parked in waiting.extract_if(.., |parked| parked.request.deadline_ms <= now_ms) {
                answers.push((parked.request.reply_to, ErrorCode::DeadlineExceeded));
            }
        }
        self.expire_group_reads(&mut answers);
        for (reply_to, code) in answers {
            self.deliver(reply_to, OperationResult::Failed(code.into()));
        }
    }

    pub(super) fn queue_depth(&self) -> usize {
        self.writes.count()
            + self.blocked.len()
            + self.durability.count()
            + self.block_waiters.values().map(Vec::len).sum::<usize>()
    }
}

/// The durability that a reply echoes.
pub(super) fn durability_on_wire(durability: Durability) -> corelode_net::body::Durability {
    match durability {
        Durability::Synced => corelode_net::body::Durability::Synced,
        Durability::Memory => corelode_net::body::Durability::Memory,
    }
}
