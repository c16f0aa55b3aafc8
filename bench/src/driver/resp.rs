//! RESP, the protocol of Redis, Valkey and their kin: one connection a client, commands pipelined, answers in order.

use std::collections::{BTreeMap, VecDeque};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::{Answer, Broken, Outcome, PATIENCE, Request, Session, Store, Ticket, closed_error, conversation_error};
use crate::report::model::{OperationKind, Target};

/// What we take the store for.
const KIND: &str = "a server that speaks RESP, such as Redis or Valkey";
/// No answer to what is asked here is longer.
const REPLY_SIZE_BYTES_MAX: usize = 1024 * 1024 * 1024;
/// Nor nested deeper.
const DEPTH_MAX: usize = 8;

/// Who the load is to the server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Login {
    /// The user; without one it is the server's default user.
    pub user: Option<String>,
    /// The user's password.
    pub password: String,
}

/// A server that speaks RESP.
pub struct RespStore {
    address: SocketAddr,
    login: Vec<u8>,
    server: String,
    settings: BTreeMap<String, String>,
}

impl RespStore {
    /// Asks the server at `address` who it is.
    ///
    /// # Errors
    /// The server cannot be reached, does not answer in RESP, or refuses the login.
    pub fn find(address: SocketAddr, login: Option<&Login>) -> Result<Self, Broken> {
        let mut words: Vec<&[u8]> = vec![b"AUTH"];
        // Servers before users take the password alone.
        words.extend(login.and_then(|login| login.user.as_ref()).map(String::as_bytes));
        words.extend(login.map(|login| login.password.as_bytes()));
        let mut login = Vec::new();
        if words.len() > 1 {
            encode(&mut login, &words);
        }
        let mut conversation = Conversation::open(address)?;
        if !login.is_empty()
            && let Reply::Error(reason) = conversation.ask(&login)?
        {
            return Err(Broken::refused(format!("{address}: {reason}")));
        }
        let mut info = Vec::new();
        encode(&mut info, &[b"INFO", b"server"]);
        let info = match conversation.ask(&info)? {
            Reply::Text(text) => text,
            Reply::Error(reason) if reason.starts_with("NOAUTH") => {
                return Err(Broken::refused(format!("{address}: the server wants a password: {reason}")));
            }
            // Who it is, is told by most.
            _ => String::new(),
        };
        let field = |name: &str| {
            let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.map(|value| value.trim().to_owned())
        };
        let server = match (field("valkey_version"), field("dragonfly_version"), field("redis_version")) {
            (Some(version), _, _) => format!("Valkey {version}"),
            (_, Some(version), _) => format!("Dragonfly {version}"),
            (_, _, Some(version)) => format!("Redis {version}"),
            _ => "a server that speaks RESP".to_owned(),
        };
        let mut settings = BTreeMap::new();
        for name in ["appendonly", "appendfsync", "save", "io-threads", "maxmemory"] {
            let mut command = Vec::new();
            encode(&mut command, &[b"CONFIG", b"GET", name.as_bytes()]);
            // A server that hides its configuration is driven all the same.
            if let Reply::List(pair) = conversation.ask(&command)?
                && let [Reply::Text(_), Reply::Text(value)] = pair.as_slice()
            {
                settings.insert(name.to_owned(), value.clone());
            }
        }
        Ok(Self { address, login, server, settings })
    }
}

impl Store for RespStore {
    fn target(&self) -> Target {
        let setting = |name: &str| self.settings.get(name).map(String::as_str);
        let durability = match (setting("appendonly"), setting("appendfsync")) {
            (Some("yes"), Some("always")) => {
                "each acknowledged write is synced to disk (appendfsync always)".to_owned()
            }
            (Some("yes"), Some(other)) => {
                format!("synced later (appendfsync {other}): a crash can lose acknowledged writes")
            }
            (Some("no"), _) => "in memory: a restart can lose acknowledged writes".to_owned(),
            _ => "not told by the server".to_owned(),
        };
        Target {
            driver: "resp".to_owned(),
            address: self.address.to_string(),
            server: self.server.clone(),
            durability,
            pinned_to: String::new(),
            settings: self.settings.clone(),
        }
    }

    fn endpoints(&self) -> Vec<SocketAddr> {
        vec![self.address]
    }

    fn supports(&self, kind: OperationKind) -> bool {
        // Keys have no order.
        kind != OperationKind::Scan
    }

    fn session(&self) -> Box<dyn Session> {
        Box::new(RespSession {
            outbound: self.login.clone(),
            is_logged_in: self.login.is_empty(),
            inbound: Vec::new(),
            waiting: VecDeque::new(),
        })
    }
}

struct RespSession {
    outbound: Vec<u8>,
    is_logged_in: bool,
    /// The beginning of an answer that has not arrived whole.
    inbound: Vec<u8>,
    /// Answers come in the order of the commands.
    waiting: VecDeque<Ticket>,
}

impl Session for RespSession {
    fn is_ready(&self) -> bool {
        self.is_logged_in
    }

    fn outbound(&mut self, _: usize) -> &mut Vec<u8> {
        &mut self.outbound
    }

    fn submit(&mut self, ticket: Ticket, request: Request<'_>) -> bool {
        match request {
            Request::Read { key } => encode(&mut self.outbound, &[b"GET", key]),
            Request::Write { key, value } => encode(&mut self.outbound, &[b"SET", key, value]),
            Request::Scan { .. } => unreachable!("the store says that it has no scans"),
        }
        self.waiting.push_back(ticket);
        true
    }

    fn receive(&mut self, _: usize, bytes: &[u8], answers: &mut Vec<Answer>) -> Result<(), Broken> {
        if self.inbound.is_empty() {
            let rest = self.take_answers(bytes, answers)?;
            self.inbound.extend_from_slice(&bytes[rest..]);
            return Ok(());
        }
        let mut inbound = std::mem::take(&mut self.inbound);
        inbound.extend_from_slice(bytes);
        let rest = self.take_answers(&inbound, answers)?;
        inbound.drain(..rest);
        self.inbound = inbound;
        Ok(())
    }
}

impl RespSession {
    /// Answers how many bytes the whole answers took.
    fn take_answers(&mut self, bytes: &[u8], answers: &mut Vec<Answer>) -> Result<usize, Broken> {
        let mut taken = 0;
        while let Some((kind, length)) = measure(&bytes[taken..], 0)? {
            let answer = &bytes[taken..taken + length];
            taken += length;
            let outcome = match kind {
                Kind::Nothing => Outcome::Absent,
                Kind::Something => Outcome::Done,
                Kind::Error => {
                    let line = String::from_utf8_lossy(&answer[1..]);
                    // The first word says what it is; the rest may differ each time.
                    Outcome::Failed(line.trim_end().split(' ').next().unwrap_or_default().to_owned())
                }
            };
            if !self.is_logged_in {
                if let Outcome::Failed(reason) = outcome {
                    return Err(Broken::refused(format!("the password is refused: {reason}")));
                }
                self.is_logged_in = true;
                continue;
            }
            let ticket = self.waiting.pop_front().ok_or_else(|| Broken::new("an answer that nobody asked for"))?;
            answers.push(Answer { ticket, outcome });
        }
        Ok(taken)
    }
}

fn encode(out: &mut Vec<u8>, words: &[&[u8]]) {
    push_length(out, b'*', words.len());
    for word in words {
        push_length(out, b'$', word.len());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

fn push_length(out: &mut Vec<u8>, kind: u8, length: usize) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = length;
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(rest % 10).expect("a digit");
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.push(kind);
    out.extend_from_slice(&digits[at..]);
    out.extend_from_slice(b"\r\n");
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Nothing,
    Something,
    Error,
}

/// What the answer at the start of `bytes` is and how long, or `None` until it is whole.
fn measure(bytes: &[u8], depth: usize) -> Result<Option<(Kind, usize)>, Broken> {
    let Some(end) = bytes.iter().position(|&byte| byte == b'\n') else {
        return match bytes.len() > 64 * 1024 {
            true => Err(Broken::new("an answer that is no RESP: its first line does not end")),
            false => Ok(None),
        };
    };
    let line_length = end + 1;
    let line = bytes.get(1..end).unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let number = || {
        let text = std::str::from_utf8(line).ok();
        let number = text.and_then(|text| text.parse::<i64>().ok());
        number.ok_or_else(|| Broken::new("an answer that is no RESP: a length is no number"))
    };
    match bytes[0] {
        b'+' | b':' => Ok(Some((Kind::Something, line_length))),
        b'-' => Ok(Some((Kind::Error, line_length))),
        b'$' => {
            let Ok(length) = usize::try_from(number()?) else { return Ok(Some((Kind::Nothing, line_length))) };
            if length > REPLY_SIZE_BYTES_MAX {
                return Err(Broken::new(format!("an answer of {length} bytes")));
            }
            let whole = line_length + length + 2;
            Ok((bytes.len() >= whole).then_some((Kind::Something, whole)))
        }
        b'*' if depth < DEPTH_MAX => {
            let Ok(count) = usize::try_from(number()?) else { return Ok(Some((Kind::Nothing, line_length))) };
            let mut whole = line_length;
            for _ in 0..count {
                match measure(&bytes[whole..], depth + 1)? {
                    Some((_, length)) => whole += length,
                    None => return Ok(None),
                }
            }
            Ok(Some((Kind::Something, whole)))
        }
        other => Err(Broken::new(format!("an answer that is no RESP: it begins with byte {other:#04x}"))),
    }
}

/// An answer as a person reads it.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Reply {
    Text(String),
    Error(String),
    List(Vec<Reply>),
    Nothing,
}

fn parse(bytes: &[u8]) -> Result<(Reply, usize), Broken> {
    let (kind, length) = measure(bytes, 0)?.ok_or_else(|| Broken::new("an answer that is cut"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    let line_length = bytes.iter().position(|&byte| byte == b'\n').map_or(length, |end| end + 1);
    let reply = match (kind, bytes[0]) {
        (Kind::Error, _) => Reply::Error(text(&bytes[1..length])),
        (Kind::Nothing, _) => Reply::Nothing,
        (Kind::Something, b'$') => Reply::Text(text(&bytes[line_length..length])),
        (Kind::Something, b'*') => {
            let mut list = Vec::new();
            let mut at = line_length;
            while at < length {
                let (item, item_length) = parse(&bytes[at..])?;
                list.push(item);
                at += item_length;
            }
            Reply::List(list)
        }
        (Kind::Something, _) => Reply::Text(text(&bytes[1..length])),
    };
    Ok((reply, length))
}

/// Questions and answers one after the other, before the load.
struct Conversation {
    address: SocketAddr,
    socket: TcpStream,
    inbound: Vec<u8>,
}

impl Conversation {
    fn open(address: SocketAddr) -> Result<Self, Broken> {
        let fail = |error: std::io::Error| Broken::new(format!("{address}: {error}"));
        let socket = TcpStream::connect_timeout(&address, PATIENCE).map_err(fail)?;
        socket.set_read_timeout(Some(PATIENCE)).map_err(fail)?;
        socket.set_write_timeout(Some(PATIENCE)).map_err(fail)?;
        Ok(Self { address, socket, inbound: Vec::new() })
    }

    fn ask(&mut self, command: &[u8]) -> Result<Reply, Broken> {
        let address = self.address;
        let fail = |error: std::io::Error| conversation_error(address, KIND, &error);
        let name = |broken: Broken| Broken { reason: format!("{address}: {}", broken.reason), ..broken };
        self.socket.write_all(command).map_err(fail)?;
        let mut bytes = [0; 16 * 1024];
        loop {
            if !self.inbound.is_empty() && measure(&self.inbound, 0).map_err(name)?.is_some() {
                let (reply, length) = parse(&self.inbound).map_err(name)?;
                self.inbound.drain(..length);
                return Ok(reply);
            }
            let length = self.socket.read(&mut bytes).map_err(fail)?;
            if length == 0 {
                return Err(closed_error(address, KIND));
            }
            self.inbound.extend_from_slice(&bytes[..length]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> RespSession {
        RespSession { outbound: Vec::new(), is_logged_in: true, inbound: Vec::new(), waiting: VecDeque::new() }
    }

    #[test]
    fn commands_are_arrays_of_bulk_strings() {
        let mut session = session();
        session.submit(Ticket(0), Request::Write { key: b"key", value: &[b'v'; 100] });
        session.submit(Ticket(1), Request::Read { key: b"" });
        let expected =
            format!("*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$100\r\n{}\r\n*2\r\n$3\r\nGET\r\n$0\r\n\r\n", "v".repeat(100));
        assert_eq!(String::from_utf8_lossy(session.outbound(0)), expected);
    }

    #[test]
    fn answers_are_taken_in_order_however_they_arrive_in_pieces() {
        let bytes =
            b"+OK\r\n$5\r\nva\r\nl\r\n$-1\r\n-OOM command not allowed\r\n:7\r\n*2\r\n$1\r\na\r\n*-1\r\n$0\r\n\r\n";
        let expected = [
            Outcome::Done,
            Outcome::Done,
            Outcome::Absent,
            Outcome::Failed("OOM".to_owned()),
            Outcome::Done,
            Outcome::Done,
            Outcome::Done,
        ];
        for piece in 1..bytes.len() {
            let mut session = session();
            let mut answers = Vec::new();
            session.waiting.extend((0..7).map(Ticket));
            for bytes in bytes.chunks(piece) {
                session.receive(0, bytes, &mut answers).expect("valid");
            }
            let outcomes: Vec<_> = answers.iter().map(|answer| answer.outcome.clone()).collect();
            assert_eq!(outcomes, expected, "in pieces of {piece}");
            assert!(answers.iter().zip(0..).all(|(answer, number)| answer.ticket == Ticket(number)));
        }
    }

    #[test]
    fn what_is_no_resp_is_an_error_and_never_a_panic() {
        for bytes in
            [&b"HTTP/1.1 400 Bad Request\r\n"[..], b"$x\r\n", b"$99999999999999999999\r\n", b"*1\r\n?\r\n", b"\n"]
        {
            let mut session = session();
            session.waiting.push_back(Ticket(0));
            assert!(session.receive(0, bytes, &mut Vec::new()).is_err(), "{:?}", String::from_utf8_lossy(bytes));
        }
        let mut session = session();
        assert!(session.receive(0, b"+OK\r\n", &mut Vec::new()).is_err(), "nobody asked");
        // An error without a word, and without the carriage return.
        let mut answers = Vec::new();
        session.waiting.push_back(Ticket(0));
        session.receive(0, b"-\n", &mut answers).expect("an error is an answer");
        assert_eq!(answers, [Answer { ticket: Ticket(0), outcome: Outcome::Failed(String::new()) }]);
    }
}
