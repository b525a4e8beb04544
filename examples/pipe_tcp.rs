//! Prints a hello that goes both ways over TCP, between a server and a client that know the same key, and
//! what becomes of a client that does not.
//!
//! Alone it is both. As two programs, with the key in a file that only you can read:
//!
//! ```text
//! pipe_tcp --server KEYFILE 127.0.0.1:4000
//! pipe_tcp --client KEYFILE 127.0.0.1:4000
//! ```

use std::error::Error;

use multiproc::{Client, Connection, Key, Listener, Process};

type Outcome = Result<(), Box<dyn Error>>;

fn serve(listener: &Listener) -> Outcome {
    let client: Connection<String, String> = listener.accept()?;
    println!("server got: {}", client.recv()?);
    client.send(&"hello from the server".into())?;
    Ok(())
}

fn greet(address: &str, key: &[u8]) -> Outcome {
    let server: Connection<String, String> = Client::connect(address).authkey(key).open()?;
    server.send(&"hello from the client".into())?;
    println!("client got: {}", server.recv()?);
    Ok(())
}

/// Another process, which knows where the server is and what the key is.
fn client((address, key): (String, Vec<u8>)) {
    let wrong = greet(&address, b"another key").expect_err("the key is wrong");
    println!("client:     {wrong}");
    greet(&address, &key).expect("the key is right");
}

fn both() -> Outcome {
    let key = Key::random();
    let listener = Listener::bind("tcp:127.0.0.1:0")?.authkey(&key);
    let address = listener.local_addr().to_string();
    let child = Process::new(client, (address, key.expose().to_vec())).start()?;
    serve(&listener)?;
    child.join()?;
    println!("turned away: {}", listener.take_refused().len());
    Ok(())
}

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [] => both(),
        ["--server", file, place] => {
            serve(&Listener::bind(format!("tcp:{place}"))?.authkey(std::fs::read(file)?))
        }
        ["--client", file, place] => greet(&format!("tcp:{place}"), &std::fs::read(file)?),
        _ => Err("give nothing, or --server KEYFILE ADDRESS, or --client KEYFILE ADDRESS".into()),
    }
}
