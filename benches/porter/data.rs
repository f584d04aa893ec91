//! The data, made once and the same every time, and the comparison by a program that takes no part in the race.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::Size;
use crate::cases::Data;

/// Files in one directory.
const IN_A_DIRECTORY: usize = 250;

/// Makes the data below `folder`, unless they are there already.
pub fn make(data: Data, size: Size, folder: &Path) {
    let whole = folder.with_extension("whole");
    if whole.exists() {
        return;
    }
    let _ = fs::remove_dir_all(folder);
    let (files, bytes) = data.files(size);
    println!("making {files} files of {bytes} bytes in {}", folder.display());
    let mut noise = fastrand::Rng::with_seed(7);
    let mut block = vec![0; bytes.min(4 << 20)];
    for number in 0..files {
        let directory = folder.join(format!("{:03}", number / IN_A_DIRECTORY));
        if number % IN_A_DIRECTORY == 0 {
            fs::create_dir_all(&directory).unwrap();
        }
        let mut file = fs::File::create(directory.join(format!("{number:06}.bin"))).unwrap();
        for _ in 0..bytes / block.len() {
            noise.fill(&mut block);
            std::io::Write::write_all(&mut file, &block).unwrap();
        }
    }
    fs::write(whole, "").unwrap();
}

/// Both trees have the same files with the same bytes, says `diff`. What the porter keeps for directories in a bucket is not data.
pub fn assert_same(one: &Path, other: &Path) {
    let output = Command::new("diff")
        .args(["-r", "--no-dereference", "--exclude=.relocation-directory", "--exclude=.sgwtmp"])
        .args([one, other])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{} and {} differ: {said:.2000}", one.display(), other.display());
}
