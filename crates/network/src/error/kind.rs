//! Whose fault an error is.

use super::Error;

/// Whose fault an [`Error`] is; the API turns it into a status code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// There is no such thing (404).
    NotFound,
    /// It is in the way of something that exists (409).
    Conflict,
    /// The request makes no sense (400).
    Invalid,
    /// The request is understood and refused (403).
    Forbidden,
    /// The host refuses, or runs out of something (500).
    Host,
}

impl Error {
    /// Whose fault it is.
    pub fn kind(&self) -> Kind {
        use Error as E;
        match self {
            E::NetworkNotFound(_)
            | E::EndpointNotFound(_)
            | E::UnknownDriver(_)
            | E::UnknownIpam(_)
            | E::NoConfig(_) => Kind::NotFound,
            E::NameTaken(_) => Kind::Conflict,
            E::Predefined(_)
            | E::PredefinedName(_)
            | E::SeveralSubnets
            | E::ConfigOperator
            | E::ConfigOfConfig
            | E::ConfigAndMore
            | E::ConfigInUse(_)
            | E::ConfigJoined(_)
            | E::ParentTaken { .. }
            | E::HasEndpoints { .. }
            | E::OnlyOne(_)
            | E::EndpointExists { .. }
            | E::Overlap { .. }
            | E::BridgeTaken { .. }
            | E::AddressTaken(_) => Kind::Forbidden,
            E::NetworkAmbiguous(_)
            | E::InvalidName(_)
            | E::InvalidOption { .. }
            | E::UnknownMode { .. }
            | E::SubInterface(_)
            | E::NoParent(_)
            | E::LoopbackParent(_)
            | E::NoFamily
            | E::NoPool
            | E::InvalidSysctl(_)
            | E::InvalidSubnet { .. }
            | E::AddressOutside(_)
            | E::AddressOnDefaultBridge
            | E::InvalidInterface(_)
            | E::InvalidPort { .. }
            | E::NoAddressToPublish(_)
            | E::CannotPublish(_)
            | E::NoDefaultBridge
            | E::NotPluggable(_) => Kind::Invalid,
            _ => Kind::Host,
        }
    }
}
