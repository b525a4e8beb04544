//! Shared memory by size and by name, as programs written from the interface alone use it.

use crate::Res;

use multiproc::{ListItem, OpenError, Process, ShareableList, SharedMemory, SharedMemoryManager};
#[test]
fn anonymous() -> Res {
    let shm = SharedMemory::create(4096)?;
    assert_eq!(shm.len(), 4096);
    assert!(!shm.is_empty());
    shm.write_at(10, b"hello")?;
    let mut b = [0u8; 5];
    shm.read_at(10, &mut b)?;
    assert_eq!(&b, b"hello");
    Process::new(
        |s: SharedMemory| s.write_at(0, b"child").unwrap(),
        shm.clone(),
    )
    .start()?
    .join()?;
    println!("{shm:?}");
    Ok(())
}
#[test]
fn named() -> Res {
    let name = format!("api-{}", std::process::id());
    let a = SharedMemory::create_named(&name, 100)?;
    assert_eq!(a.name(), Some(name.as_str()));
    let b = SharedMemory::open(&name)?;
    b.write_at(0, b"x")?;
    let e = SharedMemory::create_named(&name, 100).unwrap_err();
    assert!(e.is_exists());
    SharedMemory::unlink(&name)?;
    let e = SharedMemory::open(&name).unwrap_err();
    assert!(e.is_not_found());
    assert!(matches!(e, OpenError::NotFound));
    println!("{e}");
    let e = SharedMemory::unlink(&name).unwrap_err();
    assert!(e.is_not_found());
    Ok(())
}
#[test]
fn shareable_list() -> Res {
    let l = ShareableList::new([
        ListItem::from("howdy"),
        ListItem::from(&b"HoWdY"[..]),
        (-273.154f64).into(),
        100i64.into(),
        ListItem::None,
        true.into(),
    ])?;
    assert_eq!(l.len(), 6);
    println!("{:?} {:?}", l.get(2), l);
    l.set(2, -78.5)?;
    let l2 = l.clone();
    Process::new(
        |l: ShareableList| {
            l.set(3, 7i64).unwrap();
        },
        l2,
    )
    .start()?
    .join()?;
    for v in l.iter() {
        println!("{v:?}");
    }
    let m = SharedMemoryManager::new();
    let s = m.shared_memory(100)?;
    let l = m.shareable_list([1i64, 2])?;
    println!("{} {}", s.len(), l.len());
    drop(m);
    Ok(())
}
