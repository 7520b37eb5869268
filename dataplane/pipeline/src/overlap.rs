//! Connections from before a narrower listen took their port: they go on where they began, until they end.
//!
//! An exact port wins over a range, a range over every port, so that a listen that comes later may take what another
//! one had. What has an entry under the wider one's key is looked for there, once nothing is found under its own: where
//! no listens overlap, that is never.

use crate::context::Context;
use crate::inbound::Served;
use crate::keeper::Connection;
use crate::key::End;
use crate::parse::in_key;
use crate::snapshot::Listen;

impl<'a> Context<'a> {
    /// The connection of `client` to a port of `listen` that began at a wider one, and whose it is.
    #[cold]
    #[inline(never)]
    pub(crate) fn begun_wider(
        &self,
        client: End,
        port: u16,
        listen: &Listen,
    ) -> Option<(Served<'a>, Connection)> {
        self.snapshot.wider_listens(listen, port).find_map(|wider| {
            let key = in_key(self.snapshot, client, port, wider);
            let found = self.tables().get(&key, self.tables().hash(&key))?;
            let (listen, service) = self.snapshot.serving(wider)?;
            let served = Served { listen, service, id: listen.service };
            Some((served, Connection { place: found.place, key, payload: found.payload }))
        })
    }
}
