//! Whom a target names now, without sending anything.

use cresset_message::{
    Condition, GroupId, Platform, ProjectNumber, Recipient, Rejection, Target, Timestamp, Topic,
};
use cresset_store::StoreError;
use cresset_store::tables::members::TopicKey;
use cresset_wire::token::open_group_key;

use crate::fanout::Selection;
use crate::{Dispatcher, refusal};

/// How many registrations a target has now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Preview {
    pub registrations: usize,
    pub android: usize,
    pub ios: usize,
    pub web: usize,
    /// Of all of them.
    pub connected: usize,
}

impl Dispatcher {
    /// Whom any target names. A token or a FID is one registration, the key of a group its members; of
    /// those that are no more it is nobody, which is no error here.
    pub async fn preview_target(
        &self,
        project: ProjectNumber,
        target: &Target,
        now: Timestamp,
    ) -> Result<Preview, Rejection> {
        let condition = match target {
            Target::Topic(name) => {
                let topic: Topic = name.parse().map_err(|_| Rejection::TopicName)?;
                Condition::Topic(topic.as_str().into())
            }
            Target::Condition(text) => text.parse().map_err(|_| Rejection::Condition)?,
            Target::Token(_) | Target::Fid(_) => return self.preview_single(project, target, now).await,
        };
        self.preview_set(project, condition, now).await.map_err(refusal)
    }

    async fn preview_set(
        &self,
        project: ProjectNumber,
        condition: Condition,
        now: Timestamp,
    ) -> Result<Preview, StoreError> {
        let selection = Selection::new(condition);
        let mut preview = Preview::default();
        for number in 0..self.members.buckets(project, now).await? {
            let set = self.fanouts.matching(&selection, project, number, now).await?;
            if set.is_empty() {
                continue;
            }
            preview.registrations += set.len();
            for (platform, count) in [
                (Platform::Android, &mut preview.android),
                (Platform::Ios, &mut preview.ios),
                (Platform::Web, &mut preview.web),
            ] {
                let all = self.members.of(project, number, TopicKey::of_platform(platform), now).await?;
                *count += set.and(&all).len();
            }
            if let Some(bucket) = self.fanouts.buckets.known(project, number) {
                preview.connected += bucket.count_connected(&set);
            }
        }
        Ok(preview)
    }

    async fn preview_single(
        &self,
        project: ProjectNumber,
        target: &Target,
        now: Timestamp,
    ) -> Result<Preview, Rejection> {
        let mut preview = Preview::default();
        if let Target::Token(text) = target
            && let Some(group) = open_group_key(&self.tokens, text)
        {
            for member in self.members_of_group(project, group, now).await? {
                self.count(&mut preview, &member);
            }
            return Ok(preview);
        }
        match self.recipient_of(project, target, now).await {
            Ok(recipient) => self.count(&mut preview, &recipient),
            Err(Rejection::Unregistered) => {}
            Err(rejection) => return Err(rejection),
        }
        Ok(preview)
    }

    async fn members_of_group(
        &self,
        project: ProjectNumber,
        group: GroupId,
        now: Timestamp,
    ) -> Result<Vec<Recipient>, Rejection> {
        if group.project != project {
            return Err(Rejection::SenderIdMismatch);
        }
        let group = self.group(group, now).await.map_err(refusal)?;
        Ok(group.map(|group| group.members).unwrap_or_default())
    }

    fn count(&self, preview: &mut Preview, recipient: &Recipient) {
        preview.registrations += 1;
        *match recipient.platform {
            Platform::Android => &mut preview.android,
            Platform::Ios => &mut preview.ios,
            Platform::Web => &mut preview.web,
        } += 1;
        let present = self.carriers.presence.get(recipient.device);
        let is_carried = present.is_some_and(|present| {
            present.carried.iter().any(|carried| carried.id() == recipient.registration)
        });
        preview.connected += usize::from(is_carried);
    }
}
