//! A first look from outside: pipelined PUTs and GETs over one connection a core, straight on the wire crate.
//!
//! `cargo run --release -p corelode-server --example pingpong -- 127.0.0.1:7400 CORE DEPTH COUNT [memory]`

#![allow(clippy::print_stdout, reason = "an example tells what it sees")]

use std::io::{Read, Write};
use std::time::Instant;

use corelode_net::body::{Durability, GetReply, GetRequest, PutRequest, ReadLevel, Value, WriteReply};
use corelode_net::handshake::{ClientConfig, ClientHandshake, Features, Nonce, VersionRange};
use corelode_net::limits::BODY_SIZE_BYTES_MAX;
use corelode_net::table::{Bind, TableBuilder};
use corelode_net::{CoreIndex, FrameReader, Inbound, MapEpoch, Opcode, RequestHead, RequestId, slot_of};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let (core, depth, count): (u16, u64, u64) = (
        arguments[2].parse().expect("core"),
        arguments[3].parse().expect("depth"),
        arguments[4].parse().expect("count"),
    );
    let durability = if arguments.get(5).is_some() { Durability::Memory } else { Durability::Synced };
    let mut socket = std::net::TcpStream::connect(&arguments[1]).expect("connects");
    socket.set_nodelay(true).expect("a socket");
    let mut tables = TableBuilder::new();
    let mut out = Vec::new();
    let config = ClientConfig {
        versions: VersionRange::CURRENT,
        features: Features::NONE,
        client_name: "pingpong".to_owned(),
        credentials: None,
    };
    let mut handshake = ClientHandshake::begin(&config, Nonce([7; 32]), &mut tables, &mut out);
    let mut reader = FrameReader::with_read_size(BODY_SIZE_BYTES_MAX, 64 * 1024);
    socket.write_all(&out).expect("sends");
    let connected = 'handshake: loop {
        receive(&mut socket, &mut reader);
        while let Some(frame) = reader.next_frame().expect("frames") {
            out.clear();
            let done = handshake.on_frame(&frame, &config, &mut tables, &mut out).expect("handshake");
            socket.write_all(&out).expect("sends");
            if let Some(connected) = done {
                break 'handshake connected;
            }
        }
    };
    println!("{:?}", connected.welcome.server_version);
    let head = |id| RequestHead { request_id: RequestId(id), map_epoch: MapEpoch(1), deadline_ms: 0 };
    out.clear();
    Bind { core: CoreIndex(core) }.encode(head(1), &mut tables, &mut out);
    socket.write_all(&out).expect("sends");
    receive(&mut socket, &mut reader);
    assert!(matches!(
        reader.next_frame().expect("frame").expect("an answer").inbound(),
        Ok(Inbound::Reply(_, Opcode::Bind))
    ));
    // Keys of partitions that the core owns: partition = slot * 64 / 16384, owner = partition % cores.
    let cores = connected.welcome.core_count;
    let keys: Vec<String> = (0..1_000_000_u32)
        .map(|number| format!("key-{number:012}"))
        .filter(|key| (u32::from(slot_of(key.as_bytes()).get()) * 64 / 16384) % u32::from(cores) == u32::from(core))
        .take(100_000)
        .collect();
    let value = [b'v'; 100];
    for round in ["put", "get"] {
        let started = Instant::now();
        let (mut sent, mut received) = (0, 0);
        let mut latencies = Vec::with_capacity(usize::try_from(count).expect("fits"));
        let mut times = std::collections::HashMap::new();
        while received < count {
            out.clear();
            while sent < count && sent - received < depth {
                let key = keys[usize::try_from(sent * 7919 % keys.len() as u64).expect("fits")].as_bytes();
                let id = sent + 2;
                match round {
                    "put" => PutRequest { slot: slot_of(key), key, value: Value::new(&value), ttl_ms: 0, durability }
                        .encode(head(id), &mut out),
                    _ => GetRequest { slot: slot_of(key), key, level: ReadLevel::Linearizable }
                        .encode(head(id), &mut out),
                }
                if sent % 64 == 0 {
                    times.insert(id, Instant::now());
                }
                sent += 1;
            }
            socket.write_all(&out).expect("sends");
            receive(&mut socket, &mut reader);
            while let Some(frame) = reader.next_frame().expect("frames") {
                match frame.inbound().expect("a reply") {
                    Inbound::Reply(id, Opcode::Put) => {
                        WriteReply::decode(&frame, Opcode::Put).expect("a write's reply");
                        latencies.extend(times.remove(&id.0).map(|at| at.elapsed()));
                    }
                    Inbound::Reply(id, _) => {
                        assert!(
                            matches!(GetReply::decode(&frame), Ok(GetReply::Found(_))) || count < keys.len() as u64,
                            "{frame:?}"
                        );
                        latencies.extend(times.remove(&id.0).map(|at| at.elapsed()));
                    }
                    other => panic!("{other:?} {:?}", corelode_net::table::ErrorReply::decode(&frame)),
                }
                received += 1;
            }
        }
        let seconds = started.elapsed().as_secs_f64();
        latencies.sort();
        let at = |percent: usize| latencies[(latencies.len() - 1) * percent / 100];
        println!("{round}: {:.0}/s p50 {:?} p99 {:?}", count as f64 / seconds, at(50), at(99));
    }
}

fn receive(socket: &mut std::net::TcpStream, reader: &mut FrameReader) {
    let mut bytes = vec![0; 64 * 1024];
    let length = socket.read(&mut bytes).expect("receives");
    assert!(length > 0, "the server closed the connection");
    reader.push(&bytes[..length]);
}
