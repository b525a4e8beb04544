//! The standard streams of a process.

use std::fs::File;
use std::io::{Read, Seek, Write};

use multiproc_process::{Process, StartMethod, Stdio};

use crate::tools::result_of;

crate::behaviours! { crate::EVERY;
    input_is_empty,
    input_comes_from_a_pipe,
    input_comes_from_a_file,
    output_goes_to_a_pipe,
    output_goes_to_a_file,
    output_and_error_may_be_exchanged,
    output_is_flushed_at_the_end,
    what_is_captured_is_kept_at_its_end,
    much_that_is_captured_holds_up_nobody,
    nobody_sees_what_goes_nowhere,
    pipes_are_taken_once,
    a_process_that_closes_everything_ends_as_others_do,
}

fn read_all() -> String {
    std::io::read_to_string(std::io::stdin()).unwrap()
}

fn input_is_empty(method: StartMethod) {
    assert_eq!(result_of(method, read_all), "");
}

fn input_comes_from_a_pipe(method: StartMethod) {
    let process = Process::call(read_all)
        .stdin(Stdio::piped())
        .start_method(method);
    let process = process.start().unwrap();
    let mut input = process.take_stdin().unwrap();
    input.write_all(b"some lines\nof text").unwrap();
    assert!(process.is_alive());
    drop(input);
    assert_eq!(process.join().unwrap(), "some lines\nof text");
}

/// A file that has no name.
fn file(content: &str) -> File {
    let path = std::env::temp_dir().join(format!("mp-stream-{}", std::process::id()));
    let mut file = File::options();
    let mut file = file
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .unwrap();
    std::fs::remove_file(path).unwrap();
    file.write_all(content.as_bytes()).unwrap();
    file.rewind().unwrap();
    file
}

fn input_comes_from_a_file(method: StartMethod) {
    let process = Process::call(read_all)
        .stdin(file("from a file"))
        .start_method(method);
    assert_eq!(process.start().unwrap().join().unwrap(), "from a file");
}

fn output_goes_to_a_pipe(method: StartMethod) {
    let process = Process::call(|| {
        println!("out");
        eprintln!("err");
    });
    let process = process.stdout(Stdio::piped()).stderr(Stdio::piped());
    let process = process.start_method(method).start().unwrap();
    let mut text = [String::new(), String::new()];
    process
        .take_stdout()
        .unwrap()
        .read_to_string(&mut text[0])
        .unwrap();
    process
        .take_stderr()
        .unwrap()
        .read_to_string(&mut text[1])
        .unwrap();
    assert_eq!(text, ["out\n", "err\n"]);
    process.join().unwrap();
}

fn output_goes_to_a_file(method: StartMethod) {
    let mut target = file("");
    let process = Process::call(|| println!("into a file"));
    let process = process
        .stdout(target.try_clone().unwrap())
        .start_method(method);
    process.start().unwrap().join().unwrap();
    target.rewind().unwrap();
    assert_eq!(std::io::read_to_string(target).unwrap(), "into a file\n");
}

fn output_and_error_may_be_exchanged(method: StartMethod) {
    let (reader, writer) = std::io::pipe().unwrap();
    let process = Process::call(|| {
        print!("a");
        eprint!("b");
    });
    let process = process
        .stdout(Stdio::null())
        .stderr(writer)
        .start_method(method);
    process.start().unwrap().join().unwrap();
    assert_eq!(std::io::read_to_string(reader).unwrap(), "b");
}

fn output_is_flushed_at_the_end(method: StartMethod) {
    // No line end: whoever exits has to write the rest.
    let process = Process::call(|| print!("no line")).stdout(Stdio::captured());
    let process = process.start_method(method).start().unwrap();
    process.join().unwrap();
    assert_eq!(process.captured_stdout().unwrap(), b"no line");
}

fn what_is_captured_is_kept_at_its_end(method: StartMethod) {
    let process = Process::call(|| {
        for number in 0..2000 {
            println!("{number}");
        }
    });
    let process = process.stdout(Stdio::captured()).start_method(method);
    let process = process.start().unwrap();
    process.join().unwrap();
    let text = String::from_utf8(process.captured_stdout().unwrap()).unwrap();
    assert_eq!(text.len(), 4096);
    assert!(text.ends_with("1998\n1999\n"), "{text}");
    assert_eq!(process.captured_stderr(), None);
}

fn much_that_is_captured_holds_up_nobody(method: StartMethod) {
    let process = Process::call(|| {
        let mut out = std::io::stdout().lock();
        for _ in 0..256 {
            out.write_all(&[b'x'; 4096]).unwrap();
        }
    });
    let process = process.stdout(Stdio::captured()).start_method(method);
    process.start().unwrap().join().unwrap();
}

fn nobody_sees_what_goes_nowhere(method: StartMethod) {
    let outer = Process::new(
        |fork: bool| {
            let process = Process::call(|| println!("unseen")).stdout(Stdio::null());
            let process = match fork {
                true => process.start_method(StartMethod::Fork),
                false => process,
            };
            process.start().unwrap().join().unwrap();
            println!("seen");
        },
        method == StartMethod::Fork,
    );
    let outer = outer
        .stdout(Stdio::captured())
        .start_method(method)
        .start()
        .unwrap();
    outer.join().unwrap();
    assert_eq!(outer.captured_stdout().unwrap(), b"seen\n");
}

fn pipes_are_taken_once(method: StartMethod) {
    let process = Process::call(|| ())
        .stdout(Stdio::piped())
        .start_method(method);
    let process = process.start().unwrap();
    assert!(process.take_stdin().is_none() && process.take_stderr().is_none());
    assert!(process.take_stdout().is_some() && process.take_stdout().is_none());
    process.join().unwrap();
}

fn a_process_that_closes_everything_ends_as_others_do(method: StartMethod) {
    let process = Process::call(|| {
        multiproc_sys::testing::close_everything();
        5
    });
    let process = process.stdout(Stdio::captured()).start_method(method);
    let process = process.start().unwrap();
    assert_eq!(process.join(), Ok(5));
    assert!(process.exit_status().unwrap().success());
}
