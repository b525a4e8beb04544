//! Who a process is: number, name, parent, method.

use multiproc_process::{
    Context, Process, StartMethod, current_process, get_start_method, parent_process,
    set_start_method,
};
use serde::{Deserialize, Serialize};

use crate::tools::result_of;

crate::behaviours! { crate::EVERY;
    a_process_has_a_number_of_its_own,
    a_process_knows_its_name_and_parent,
    a_grandchild_knows_its_parent,
    names_count_up,
    names_of_children_begin_with_their_parents,
    the_name_is_shown_in_lists,
    a_long_name_is_kept,
    a_name_no_list_could_show_is_refused,
    the_method_is_the_one_asked_for,
    the_default_method_is_used_and_inherited,
    a_context_has_a_method,
    arguments_are_those_of_the_program,
}

fn a_process_has_a_number_of_its_own(method: StartMethod) {
    let process = Process::call(std::process::id).start_method(method);
    let process = process.start().unwrap();
    assert_ne!(process.pid(), std::process::id());
    assert_eq!(process.join(), Ok(process.pid()));
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Who {
    name: String,
    pid: u32,
    daemon: bool,
    parent: Option<(String, u32, bool)>,
}

fn who() -> Who {
    let me = current_process();
    Who {
        name: me.name().to_owned(),
        pid: me.pid(),
        daemon: me.is_daemon(),
        parent: parent_process().map(|p| (p.name().to_owned(), p.pid(), p.is_alive())),
    }
}

fn a_process_knows_its_name_and_parent(method: StartMethod) {
    let me = who();
    assert_eq!(
        (me.name.as_str(), me.daemon, &me.parent),
        ("main", false, &None)
    );
    for daemon in [false, true] {
        let process = Process::call(who).name("curious").daemon(daemon);
        let process = process.start_method(method).start().unwrap();
        assert_eq!((process.name(), process.is_daemon()), ("curious", daemon));
        let expected = Who {
            name: "curious".into(),
            pid: process.pid(),
            daemon,
            parent: Some(("main".into(), std::process::id(), true)),
        };
        assert_eq!(process.join(), Ok(expected));
    }
}

fn a_grandchild_knows_its_parent(method: StartMethod) {
    let process = Process::new(
        |method: u8| {
            let method = crate::EVERY[usize::from(method)];
            let inner = Process::call(who).name("inner").start_method(method);
            (std::process::id(), inner.start().unwrap().join().unwrap())
        },
        position(method),
    );
    let process = process.name("outer").start_method(method).start().unwrap();
    let (outer, inner) = process.join().unwrap();
    assert_eq!(outer, process.pid());
    assert_eq!(inner.parent, Some(("outer".into(), outer, true)));
}

/// A start method as an argument.
fn position(method: StartMethod) -> u8 {
    let position = crate::EVERY.iter().position(|&other| other == method);
    position.expect("all are listed") as u8
}

fn names_count_up(method: StartMethod) {
    for number in 1..4 {
        let process = Process::call(|| ()).start_method(method).start().unwrap();
        assert_eq!(process.name(), format!("Process-{number}"));
        process.join().unwrap();
    }
}

fn names_of_children_begin_with_their_parents(method: StartMethod) {
    set_start_method(method);
    Process::call(|| ()).start().unwrap().join().unwrap();
    let names = Process::call(|| {
        let name = || current_process().name().to_owned();
        let inner = || Process::call(name).start().unwrap().join().unwrap();
        [inner(), inner()]
    });
    let names = names.start().unwrap().join().unwrap();
    assert_eq!(names, ["Process-2:1", "Process-2:2"]);
}

fn the_name_is_shown_in_lists(method: StartMethod) {
    let process = Process::call(|| std::fs::read_to_string("/proc/self/comm").unwrap());
    let process = process.name("a name too long to show").start_method(method);
    let shown = process.start().unwrap().join().unwrap();
    assert_eq!(shown, "a name too long\n");
}

fn a_long_name_is_kept(method: StartMethod) {
    let name = "ünïcödé ".repeat(50);
    let process = Process::call(|| current_process().name().to_owned());
    let process = process.name(&name).start_method(method).start().unwrap();
    assert_eq!(process.join().unwrap(), name);
}

fn a_name_no_list_could_show_is_refused(method: StartMethod) {
    let process = Process::call(|| ())
        .name("x".repeat(5000))
        .start_method(method);
    assert!(process.start().unwrap_err().is_encode());
}

fn the_method_is_the_one_asked_for(method: StartMethod) {
    let process = Process::call(|| ()).start_method(method).start().unwrap();
    assert_eq!(process.start_method(), method);
    process.join().unwrap();
}

fn the_default_method_is_used_and_inherited(method: StartMethod) {
    assert_eq!(get_start_method(), StartMethod::ForkServer);
    set_start_method(method);
    assert_eq!(get_start_method(), method);
    let process = Process::call(|| {
        let inner = Process::call(|| ()).start().unwrap();
        inner.join().unwrap();
        get_start_method() == inner.start_method() && crate::EVERY.contains(&get_start_method())
    });
    let process = process.start().unwrap();
    assert_eq!(process.start_method(), method);
    assert_eq!(process.join(), Ok(true));
    let theirs = result_of(method, || format!("{:?}", get_start_method()));
    assert_eq!(theirs, format!("{method:?}"));
}

fn a_context_has_a_method(method: StartMethod) {
    let context = Context::new(method);
    assert_eq!(context.start_method(), method);
    let called = context.call(|| 7).start().unwrap();
    let added = context.process(|(a, b)| a + b, (2, 3)).start().unwrap();
    assert_eq!(
        (called.start_method(), added.start_method()),
        (method, method)
    );
    assert_eq!((called.join(), added.join()), (Ok(7), Ok(5)));
}

fn arguments_are_those_of_the_program(method: StartMethod) {
    let theirs = result_of(method, || std::env::args().collect::<Vec<_>>());
    assert_eq!(theirs, std::env::args().collect::<Vec<_>>());
}
