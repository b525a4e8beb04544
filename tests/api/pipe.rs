//! Connections, listeners and clients, as programs written from the interface alone use them.

use crate::{MS, Res};
use multiproc::{
    Bytes, Client, ConnectError, Connection, Listener, Process, Receiver, RecvError, SendError,
    Sender,
};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

#[derive(Serialize, Deserialize, Debug, PartialEq, Clone)]
enum Request {
    Add(i32, i32),
    Stop,
}

#[derive(Serialize, Deserialize, Debug, PartialEq, Clone)]
struct Reply(i32);

fn serve(conn: Connection<Reply, Request>) {
    while let Ok(Request::Add(a, b)) = conn.recv() {
        conn.send(&Reply(a + b)).unwrap();
    }
}

#[test]
fn pipe_request_reply() -> Res {
    let (a, b) = multiproc::pipe::<Request, Reply>()?;
    let p = Process::new(serve, b).start()?;
    a.send(&Request::Add(1, 2))?;
    assert_eq!(a.recv()?, Reply(3));
    a.send(&Request::Stop)?;
    p.join()?;
    Ok(())
}

#[test]
fn four_forms() -> Res {
    let (a, b): (Connection<i32, i32>, Connection<i32, i32>) = multiproc::pipe()?;
    a.send(&1)?;
    a.try_send(&2)?;
    a.send_timeout(&3, MS)?;
    a.send_deadline(&4, Instant::now() + MS)?;
    assert_eq!(b.recv()?, 1);
    assert_eq!(b.try_recv()?, 2);
    assert_eq!(b.recv_timeout(MS)?, 3);
    assert_eq!(b.recv_deadline(Instant::now() + MS)?, 4);
    let e = b.try_recv().unwrap_err();
    assert!(e.is_empty());
    assert!(matches!(e, RecvError::Empty));
    let e = b.recv_timeout(MS).unwrap_err();
    assert!(e.is_timed_out());
    assert!(matches!(e, RecvError::TimedOut));
    assert!(!b.poll(Duration::ZERO)?);
    assert!(!b.poll(MS)?);
    a.send(&1)?;
    assert!(b.poll(None)?);
    assert!(b.poll(Some(MS))?);
    drop(a);
    assert_eq!(b.recv()?, 1);
    let e = b.recv().unwrap_err();
    assert!(e.is_disconnected());
    assert!(matches!(e, RecvError::Disconnected));
    let e = b.send(&1).unwrap_err();
    assert!(e.is_disconnected());
    b.close();
    assert!(b.is_closed());
    assert!(b.recv().unwrap_err().is_closed());
    assert!(matches!(b.send(&5), Err(SendError::Closed)));
    Ok(())
}

#[test]
fn bytes() -> Res {
    let (a, b) = multiproc::pipe::<(), ()>()?;
    a.send_bytes(b"hello")?;
    assert_eq!(b.recv_bytes(100)?, b"hello");
    a.send_bytes(&[0u8; 10])?;
    let mut buf = [0u8; 16];
    let n: usize = b.recv_bytes_into(&mut buf)?;
    assert_eq!(n, 10);
    a.send_bytes(b"0123456789")?;
    let mut small = [0u8; 4];
    match b.recv_bytes_into(&mut small) {
        Err(RecvError::BufferTooShort(all)) => assert_eq!(&all[..], b"0123456789"),
        other => panic!("{other:?}"),
    }
    a.send_bytes(b"0123456789")?;
    match b.recv_bytes(4) {
        Err(e) => assert!(e.is_too_large()),
        other => panic!("{other:?}"),
    }
    let (tx, rx) = multiproc::channel::<Bytes>()?;
    tx.send(&Bytes::from(vec![1, 2, 3]))?;
    assert_eq!(rx.recv()?.len(), 3);
    Ok(())
}

#[test]
fn channels() -> Res {
    let (tx, rx) = multiproc::channel::<String>()?;
    let p = Process::new(
        |tx: Sender<String>| {
            for i in 0..3 {
                tx.send(&format!("m{i}")).unwrap();
            }
        },
        tx,
    )
    .start()?;
    let all: Vec<String> = rx.iter().collect::<Result<_, _>>()?;
    assert_eq!(all.len(), 3);
    p.join()?;
    let (tx, rx) = multiproc::channel::<u64>()?;
    tx.send(&1)?;
    drop(tx);
    for v in &rx {
        assert_eq!(v?, 1);
    }
    let (tx, rx) = multiproc::channel::<u64>()?;
    tx.send(&1)?;
    tx.send(&2)?;
    drop(tx);
    for v in &rx {
        println!("{}", v?);
    }
    fn show(rx: Receiver<u64>) -> bool {
        rx.recv().is_err()
    }
    assert!(show(rx));
    let (tx, rx) = multiproc::channel::<Vec<u8>>()?;
    tx.send(&vec![1, 2])?;
    assert_eq!(rx.try_recv()?, vec![1, 2]);
    let (tx, rx) = multiproc::channel::<String>()?;
    tx.send(&String::from("abc"))?;
    tx.send(&"abc".to_string())?;
    let _ = (rx.recv()?, rx.recv()?);
    println!("{tx:?} {rx:?}");
    Ok(())
}

#[test]
fn sender_in_threads() -> Res {
    let (tx, rx) = multiproc::channel::<u64>()?;
    let t = std::thread::spawn(move || {
        for i in 0..10 {
            tx.send(&i).unwrap();
        }
    });
    let mut sum = 0;
    while let Ok(v) = rx.recv() {
        sum += v;
    }
    t.join().unwrap();
    assert_eq!(sum, 45);
    Ok(())
}

#[test]
fn listener_client() -> Res {
    let listener = Listener::bind("tcp:127.0.0.1:0")?.authkey(b"secret");
    let addr = listener.local_addr().to_string();
    let p = Process::new(
        |addr: String| {
            let c: Connection<String, u64> =
                Client::connect(&addr).authkey(b"secret").open().unwrap();
            c.send(&"hello".to_string()).unwrap();
            c.recv().unwrap()
        },
        addr.clone(),
    )
    .start()?;
    let conn: Connection<u64, String> = listener.accept()?;
    assert_eq!(conn.recv()?, "hello");
    conn.send(&5)?;
    assert_eq!(p.join()?, 5);
    let bad = Process::new(
        |addr: String| {
            let e: ConnectError = Client::connect(addr)
                .authkey("wrong")
                .open::<u8, u8>()
                .unwrap_err();
            e.is_authentication_failed()
        },
        addr,
    )
    .start()?;
    assert!(
        listener
            .accept_timeout::<u8, u8>(Duration::from_secs(2))
            .is_err()
    );
    assert!(bad.join()?);
    let dir = std::env::temp_dir().join(format!("api-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let l = Listener::bind(format!("unix:{}/s", dir.display()))?;
    println!("{:?} {}", l, l.local_addr());
    let t = std::thread::spawn({
        let a = l.local_addr().to_string();
        move || {
            let c = Client::connect(a).open::<u8, u8>().unwrap();
            c.send(&1).unwrap();
        }
    });
    let c = l.accept::<u8, u8>()?;
    assert_eq!(c.recv()?, 1);
    t.join().unwrap();
    assert!(l.try_accept::<u8, u8>().is_err());
    assert!(l.accept_deadline::<u8, u8>(Instant::now()).is_err());
    Ok(())
}

#[test]
fn connect_errors() {
    let e = Client::connect("unix:/nonexistent/sock")
        .open::<u8, u8>()
        .unwrap_err();
    println!("{e}");
    let _ = (
        e.is_refused(),
        e.is_os(),
        e.is_timed_out(),
        e.is_version_mismatch(),
    );
    let e = Client::connect("gopher:what").open::<u8, u8>().unwrap_err();
    println!("{e}");
    let e = Listener::bind("nonsense").unwrap_err();
    println!("{e}");
}

#[test]
fn wait_pipes() -> Res {
    let pipes: Vec<_> = (0..4)
        .map(|i| {
            let (tx, rx) = multiproc::channel::<u32>().unwrap();
            Process::new(
                |(tx, i): (Sender<u32>, u32)| {
                    tx.send(&i).unwrap();
                },
                (tx, i),
            )
            .start()
            .unwrap();
            rx
        })
        .collect();
    let mut readers: Vec<Receiver<u32>> = pipes;
    while !readers.is_empty() {
        let refs: Vec<&dyn multiproc::Waitable> = readers
            .iter()
            .map(|r| r as &dyn multiproc::Waitable)
            .collect();
        let ready = multiproc::wait(&refs, None)?;
        for i in ready.into_iter().rev() {
            match readers[i].recv() {
                Ok(v) => println!("{v}"),
                Err(_) => {
                    readers.swap_remove(i);
                }
            }
        }
    }
    Ok(())
}
