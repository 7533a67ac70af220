//! Half requests, oversized heads, lying lengths, silence and noise on every port, the link's UDP port included.

use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};

use domicile_tests::cluster::fixture::Dice;
use domicile_tests::cluster::http::{connect, split};

use crate::{calm_cluster, undisturbed};

#[test]
fn noise_on_every_port_disturbs_nobody() {
    let cluster = calm_cluster();
    let tokyo = cluster.region("tokyo");
    let mut held: Vec<TcpStream> = Vec::new();
    for door in [&tokyo.doors.es, &tokyo.doors.api, &tokyo.doors.metrics] {
        let (host, _) = split(door).unwrap();
        for noise in noises() {
            let mut stream = connect(&host).unwrap();
            let _ = stream.write_all(&noise);
            held.push(stream);
        }
        // Connections that say nothing at all, held open while everybody else works.
        (0..200).for_each(|_| held.push(connect(&host).unwrap()));
        let mut head = connect(&host).unwrap();
        let _ = head.write_all(format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(4 << 20)).as_bytes());
        let mut answer = Vec::new();
        let _ = head.read_to_end(&mut answer);
        let refused = answer.is_empty() || answer.starts_with(b"HTTP/1.1 4");
        assert!(
            refused,
            "four megabytes of head were taken: {}",
            String::from_utf8_lossy(&answer[..40.min(answer.len())])
        );
    }
    undisturbed(&cluster);
    drop(held);
    undisturbed(&cluster);
}

#[test]
fn noise_on_the_link_disturbs_nobody() {
    let cluster = calm_cluster();
    let mut dice = Dice::new(72);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for region in cluster.regions() {
        for round in 0..2_000 {
            let length = usize::try_from(dice.below(1_400)).unwrap();
            let mut datagram: Vec<u8> = (0..length).map(|_| u8::try_from(dice.below(256)).unwrap()).collect();
            if round % 2 == 0 && length > 20 {
                // Looks like the first packet of a QUIC version 1 connection.
                datagram[..6].copy_from_slice(&[0xc3, 0, 0, 0, 1, 8]);
            }
            let _ = socket.send_to(&datagram, &region.doors.link);
        }
    }
    undisturbed(&cluster);
}

/// What a confused or malicious peer may send to an HTTP port.
fn noises() -> Vec<Vec<u8>> {
    let mut dice = Dice::new(73);
    let random: Vec<u8> = (0..4_096).map(|_| u8::try_from(dice.below(256)).unwrap()).collect();
    vec![
        b"POST /calm/_bulk HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{\"create\"".to_vec(),
        b"POST /calm/_bulk HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n".to_vec(),
        b"POST /calm/_bulk HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n".to_vec(),
        b"POST /calm/_bulk HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n".to_vec(),
        b"POST /calm/_bulk HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /".to_vec(),
        b"GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        b"GET /%00%ff%2e%2e HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        random,
    ]
}
