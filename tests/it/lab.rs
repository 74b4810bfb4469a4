//! Starting, and refusing to start.

use std::process::Command;

use tests::{Lab, LabOptions, fresh_folder, target_binary, up_command};

/// Runs `up` that must fail; returns what it said.
fn refused(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(!output.status.success(), "{command:?} should fail");
    assert!(output.stdout.is_empty(), "no ready line: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn a_busy_port_is_named_with_the_flag_that_changes_it() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for flag in ["--listen", "--chain-listen"] {
        let data = fresh_folder();
        let said = refused(
            Command::new(target_binary("run402d"))
                .args(["up", "--data"])
                .arg(&data)
                .args([
                    flag,
                    &address,
                    if flag == "--listen" { "--chain-listen" } else { "--listen" },
                    "127.0.0.1:0",
                ])
                .env("RUN402_TOOLS_DIR", concat!(env!("CARGO_MANIFEST_DIR"), "/../.tools")),
        );
        assert!(said.contains(&taken.local_addr().unwrap().port().to_string()), "{said}");
        assert!(said.contains(flag), "{said}");
        let _ = std::fs::remove_dir_all(data);
    }
}

#[tokio::test]
async fn a_data_directory_of_another_version_is_left_alone() {
    let data = fresh_folder();
    std::fs::create_dir_all(&data).unwrap();
    std::fs::write(data.join("VERSION"), "999\n").unwrap();
    let said = refused(&mut up_command(&data, &LabOptions::default()));
    assert!(said.contains("999"), "{said}");
    assert_eq!(std::fs::read_dir(&data).unwrap().count(), 1, "nothing was made in it");
    let _ = std::fs::remove_dir_all(data);
}

#[tokio::test]
async fn one_data_directory_has_one_lab() {
    let lab = Lab::start().await;
    let said = refused(&mut up_command(&lab.data, &LabOptions::default()));
    assert!(said.contains("already") || said.contains("in use"), "{said}");
    assert_eq!(lab.get("/health").await.status, 200, "the first is untouched");
}

#[tokio::test]
async fn check_config_names_every_mistake_at_once() {
    let file = fresh_folder().with_extension("toml");
    std::fs::write(&file, "[server]\nlisten = \"nowhere\"\nno_such_key = 1\n[control_db]\nurl = 7\n")
        .unwrap();
    let output = Command::new(target_binary("run402d"))
        .args(["check-config", "--config"])
        .arg(&file)
        .output()
        .unwrap();
    assert!(!output.status.success());
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    for mistake in ["listen", "no_such_key", "url", "s3"] {
        assert!(said.contains(mistake), "{mistake} is not named:\n{said}");
    }
    let _ = std::fs::remove_file(file);
}

#[tokio::test]
async fn a_full_disk_is_named_and_leaves_no_child_behind() {
    let data = fresh_folder();
    std::fs::create_dir_all(&data).unwrap();
    let up = up_command(&data, &LabOptions::default());
    // A file system of our own that is too small for one Postgres; seen by this child alone.
    let mount = "mount -t tmpfs -o size=24m,mode=0755 none \"$0\" && exec \"$@\"";
    let mut command = Command::new("unshare");
    if nix::unistd::Uid::effective().is_root() {
        command.args(["--mount", "sh", "-c", mount]).arg(&data);
    } else {
        let user = nix::unistd::Uid::effective().to_string();
        let group = nix::unistd::Gid::effective().to_string();
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", mount]).arg(&data);
        command.args(["unshare", "--user", "--map-user", &user, "--map-group", &group]);
    }
    command.arg(up.get_program()).args(up.get_args());
    command.env("RUN402_TOOLS_DIR", concat!(env!("CARGO_MANIFEST_DIR"), "/../.tools"));
    let said = refused(&mut command);
    assert!(said.to_lowercase().contains("space"), "{said}");
    let _ = std::fs::remove_dir_all(data);
}
