//! `projects.json`: the keys of the projects made from this machine, and which one is active.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::json_file;
use crate::LocalError;

/// Where the keys are kept.
#[derive(Debug, Clone)]
pub struct ProjectsFile(PathBuf);

/// The file's content. Changes are kept by [`ProjectsFile::change`].
#[derive(Clone, PartialEq)]
pub struct Projects {
    fields: Map<String, Value>,
}

/// The two keys of a project.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ProjectKeys<'a> {
    pub anon_key: &'a str,
    pub service_key: &'a str,
}

impl ProjectsFile {
    pub fn at(path: PathBuf) -> Self {
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The file's content; nothing yet when there is no file.
    ///
    /// # Errors
    /// `LOCAL_FILE_CORRUPT` when it is not a set of projects.
    pub fn load(&self) -> Result<Projects, LocalError> {
        let mut fields = json_file::read(&self.0)?.unwrap_or_default();
        let projects = fields.entry("projects").or_insert_with(|| json!({}));
        let sound = projects.as_object().is_some_and(|all| all.values().all(Value::is_object));
        if !sound {
            return Err(json_file::corrupt(&self.0, "its projects are not objects by id"));
        }
        Ok(Projects { fields })
    }

    /// Reads the file, changes it and writes it back, one process at a time: keys are handed out once, so
    /// two projects made at the same moment must both be kept.
    ///
    /// # Errors
    /// Those of the change, `LOCAL_FILE` and `LOCAL_FILE_CORRUPT`; the file is then as it was.
    pub fn change<T>(
        &self,
        change: impl FnOnce(&mut Projects) -> Result<T, LocalError>,
    ) -> Result<T, LocalError> {
        let _lock = json_file::lock(&self.0)?;
        let mut projects = self.load()?;
        let outcome = change(&mut projects)?;
        json_file::replace(&self.0, &projects.fields)?;
        Ok(outcome)
    }
}

impl Projects {
    pub fn active(&self) -> Option<&str> {
        self.fields.get("active_project_id").and_then(Value::as_str)
    }

    /// Ids and what is known of each, in the order of the ids.
    pub fn all(&self) -> impl Iterator<Item = (&str, &Map<String, Value>)> {
        self.projects().into_iter().flatten().filter_map(|(id, row)| Some((id.as_str(), row.as_object()?)))
    }

    pub fn len(&self) -> usize {
        self.projects().map_or(0, Map::len)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// # Errors
    /// `PROJECT_NOT_FOUND` when the project is not in the file.
    pub fn get(&self, id: &str) -> Result<&Map<String, Value>, LocalError> {
        self.projects().and_then(|all| all.get(id)).and_then(Value::as_object).ok_or_else(|| {
            LocalError::new("PROJECT_NOT_FOUND", format!("this machine has no keys of {id}"))
                .hint("run402 projects list shows the projects that are known here.")
        })
    }

    /// The id that was given, or the active one.
    ///
    /// # Errors
    /// `NO_ACTIVE_PROJECT` when there is neither.
    pub fn choose<'a>(&'a self, given: Option<&'a str>) -> Result<&'a str, LocalError> {
        given.or_else(|| self.active()).ok_or_else(|| {
            LocalError::new("NO_ACTIVE_PROJECT", "no project was named and none is active")
                .hint("Name one, or make one: run402 projects provision --name my-app")
        })
    }

    /// # Errors
    /// `PROJECT_NOT_FOUND`, also when a key is missing.
    pub fn keys(&self, id: &str) -> Result<ProjectKeys<'_>, LocalError> {
        let row = self.get(id)?;
        let text = |name: &str| {
            row.get(name).and_then(Value::as_str).ok_or_else(|| {
                LocalError::new("PROJECT_NOT_FOUND", format!("this machine has no {name} of {id}"))
            })
        };
        Ok(ProjectKeys { anon_key: text("anon_key")?, service_key: text("service_key")? })
    }

    /// Adds a project and makes it the active one.
    pub fn add(&mut self, id: &str, keys: ProjectKeys<'_>) {
        self.update(id, [("anon_key", json!(keys.anon_key)), ("service_key", json!(keys.service_key))]);
        self.activate(id);
    }

    /// Sets fields of a project, keeping its others.
    pub fn update<'a>(&mut self, id: &str, fields: impl IntoIterator<Item = (&'a str, Value)>) {
        let row = self.projects_mut().entry(id).or_insert_with(|| json!({}));
        for (name, value) in fields {
            row[name] = value;
        }
    }

    /// Makes the project the active one and remembers which was.
    pub fn activate(&mut self, id: &str) {
        let before = self.fields.insert("active_project_id".to_owned(), json!(id));
        if let Some(before) = before.filter(|before| before != id) {
            self.fields.insert("previous_active_project_id".to_owned(), before);
        }
    }

    /// Forgets a project. If it was the active one, the one before takes its place, if it is still known.
    pub fn remove(&mut self, id: &str) {
        self.projects_mut().remove(id);
        let is = |value: Option<&Value>| value.is_some_and(|value| value == id);
        if is(self.fields.get("previous_active_project_id")) {
            self.fields.remove("previous_active_project_id");
        }
        if is(self.fields.get("active_project_id")) {
            self.fields.remove("active_project_id");
            if let Some(Value::String(before)) = self.fields.remove("previous_active_project_id")
                && self.get(&before).is_ok()
            {
                self.fields.insert("active_project_id".to_owned(), before.into());
            }
        }
    }

    fn projects(&self) -> Option<&Map<String, Value>> {
        self.fields.get("projects").and_then(Value::as_object)
    }

    fn projects_mut(&mut self) -> &mut Map<String, Value> {
        self.fields.get_mut("projects").and_then(Value::as_object_mut).expect("checked when loaded")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::json_file::tests::Scratch;
    use super::*;

    const KEYS: ProjectKeys<'static> = ProjectKeys { anon_key: "a", service_key: "s" };

    #[test]
    fn a_new_project_is_active_and_removal_falls_back() {
        let scratch = Scratch::new();
        let file = ProjectsFile::at(scratch.0.join("projects.json"));
        assert_eq!(file.load().unwrap().choose(None).unwrap_err().code, "NO_ACTIVE_PROJECT");
        for id in ["prj_1", "prj_2"] {
            file.change(|projects| {
                projects.add(id, KEYS);
                Ok(())
            })
            .unwrap();
        }

        let mut projects = file.load().unwrap();
        assert_eq!((projects.len(), projects.choose(None)), (2, Ok("prj_2")));
        assert_eq!(projects.choose(Some("prj_9")), Ok("prj_9"));
        assert_eq!(projects.keys("prj_1").unwrap().service_key, "s");
        projects.remove("prj_2");
        assert_eq!(projects.active(), Some("prj_1"));
        projects.remove("prj_1");
        assert_eq!(projects.active(), None);
        assert_eq!(projects.keys("prj_1").err().unwrap().code, "PROJECT_NOT_FOUND");
    }

    #[test]
    fn a_project_that_is_gone_does_not_become_active_again() {
        let scratch = Scratch::new();
        let mut projects = ProjectsFile::at(scratch.0.join("p.json")).load().unwrap();
        projects.add("prj_1", KEYS);
        projects.add("prj_2", KEYS);
        projects.remove("prj_1");
        projects.remove("prj_2");
        assert_eq!(projects.active(), None);
    }

    #[test]
    fn fields_that_we_do_not_know_survive() {
        let scratch = Scratch::new();
        let file = ProjectsFile::at(scratch.0.join("projects.json"));
        let text = json!({ "v": 2, "projects": { "prj_1": { "anon_key": "a", "mailbox_id": "mbx_1" } } });
        fs::write(file.path(), text.to_string()).unwrap();
        let deployed = [("last_deployment_id", json!("dpl_1"))];
        file.change(|projects| {
            projects.update("prj_1", deployed);
            Ok(())
        })
        .unwrap();
        let projects = file.load().unwrap();
        assert_eq!(projects.fields["v"], 2);
        assert_eq!(projects.get("prj_1").unwrap()["mailbox_id"], "mbx_1");
        assert_eq!(projects.get("prj_1").unwrap()["last_deployment_id"], "dpl_1");
        assert_eq!(projects.keys("prj_1").err().unwrap().code, "PROJECT_NOT_FOUND");
    }

    #[test]
    fn changes_at_the_same_moment_are_all_kept() {
        let scratch = Scratch::new();
        let file = ProjectsFile::at(scratch.0.join("projects.json"));
        std::thread::scope(|scope| {
            for n in 0..16 {
                let file = &file;
                scope.spawn(move || {
                    file.change(|projects| {
                        projects.add(&format!("prj_{n}"), KEYS);
                        Ok(())
                    })
                });
            }
        });
        assert_eq!(file.load().unwrap().len(), 16);
    }

    #[test]
    fn a_file_of_another_shape_is_refused() {
        let scratch = Scratch::new();
        let file = ProjectsFile::at(scratch.0.join("projects.json"));
        for bad in [r#"{"projects":[]}"#, r#"{"projects":{"prj_1":"key"}}"#, "nothing"] {
            fs::write(file.path(), bad).unwrap();
            assert_eq!(file.load().err().unwrap().code, "LOCAL_FILE_CORRUPT", "{bad}");
            assert_eq!(file.change(|_| Ok(())).err().unwrap().code, "LOCAL_FILE_CORRUPT", "{bad}");
            assert_eq!(fs::read_to_string(file.path()).unwrap(), bad);
        }
    }
}
