//! All projects in memory, by every name they are asked for.

use std::collections::HashMap;
use std::sync::Arc;

use cresset_message::{ProjectNumber, Timestamp};
use cresset_store::tables::projects::{self, ProjectRecord};
use cresset_store::{Pages, Store, StoreError, Table};

use crate::Identity;
use crate::project::Project;

#[derive(Default)]
pub(crate) struct Directory {
    by_id: HashMap<Box<str>, Arc<Project>>,
    by_number: HashMap<ProjectNumber, Arc<Project>>,
    by_account: HashMap<Box<str>, Arc<Project>>,
    by_server_key: HashMap<Box<str>, Arc<Project>>,
}

/// Rows read from the store at a time.
const PAGE: usize = 1_000;

impl Directory {
    pub(crate) async fn load(store: &Store, now: Timestamp) -> Result<Self, StoreError> {
        let mut directory = Self::default();
        let mut pages = Pages::of(store, Table::Projects, projects::PARTITION, PAGE);
        while let Some(rows) = pages.next(now).await? {
            for row in &rows {
                let id = std::str::from_utf8(&row.sort)
                    .map_err(|_| StoreError::Damaged("a project id is not text".into()))?;
                directory.add(Project::from_record(id, &ProjectRecord::from_bytes(&row.value)?)?);
            }
        }
        Ok(directory)
    }

    fn add(&mut self, project: Project) {
        let project = Arc::new(project);
        self.by_id.insert(project.id.as_str().into(), project.clone());
        self.by_number.insert(project.number, project.clone());
        for account in &project.service_accounts {
            self.by_account.insert(account.email.as_str().into(), project.clone());
        }
        for key in &project.server_keys {
            self.by_server_key.insert(key.as_str().into(), project.clone());
        }
    }

    pub(crate) fn all(&self) -> Vec<Arc<Project>> {
        let mut all: Vec<_> = self.by_id.values().cloned().collect();
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all
    }

    pub(crate) fn find(&self, id_or_number: &str) -> Option<Arc<Project>> {
        let by_number = || self.by_number(id_or_number.parse().ok()?);
        self.by_id.get(id_or_number).cloned().or_else(by_number)
    }

    pub(crate) fn by_number(&self, number: ProjectNumber) -> Option<Arc<Project>> {
        self.by_number.get(&number).cloned()
    }

    pub(crate) fn by_account(&self, email: &str) -> Option<Arc<Project>> {
        self.by_account.get(email).cloned()
    }

    pub(crate) fn by_server_key(&self, key: &str) -> Option<Arc<Project>> {
        self.by_server_key.get(key).cloned()
    }
}

impl Identity {
    pub(crate) fn directory(&self) -> Arc<Directory> {
        self.directory.read().unwrap_or_else(|e| e.into_inner()).clone()
    }
}
