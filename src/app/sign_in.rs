//! Who calls, by the settings: the user of the environment, signed tokens, static tokens, or nobody in particular.

use std::sync::Arc;

use super::Carrier;
use crate::config::{Config, Identity, JwksSource, JwtSettings, LocalCaller, SignInSettings};
use crate::inbound::sign_in::{ProtectedResource, SignIn};
use crate::mesh::tenant::{
    Bearers, EnvironmentIdentity, Limits, Resolver, SignedTokens, StaticTokenDirectory,
    TenantDirectory, TokenSettings,
};
use crate::mesh::{Clock, Error, ErrorKind};
use crate::outbound::jwks::{InvalidLocation, Jwks, JwksLocation};
use crate::outbound::tokens::{self, TokensFile};

/// Tells who calls over `carrier`. Within a runtime.
///
/// # Errors
/// The address of the keys cannot be used, or over HTTP the file of static tokens is wrong.
pub(super) fn resolver(
    carrier: Carrier,
    config: &Config,
    directory: &Arc<dyn TenantDirectory>,
    clock: &Arc<dyn Clock>,
) -> Result<Resolver, Error> {
    let directory = Arc::clone(directory);
    match (carrier, &config.identity) {
        (Carrier::Http, _) => Ok(Resolver::of_bearers(
            bearers(&config.sign_in, clock)?,
            directory,
        )),
        (Carrier::Pipes, Identity::Env) => {
            let identity = of_environment(&config.caller);
            let limits = Arc::new(Limits::default());
            Ok(Resolver::of_environment(identity, limits, directory))
        }
        (Carrier::Pipes, Identity::Jwt(jwt)) => {
            let keys = Arc::new(Jwks::new(jwks_location(jwt)?, Arc::clone(clock)));
            Ok(Resolver::of_tokens(of_messages(jwt), keys, directory))
        }
    }
}

/// The ways to sign in over HTTP. The file of static tokens is read now, and looked at again for as long as
/// the resolver lives; one that is made later counts too.
fn bearers(settings: &SignInSettings, clock: &Arc<dyn Clock>) -> Result<Bearers, Error> {
    let signed = settings.jwt.as_ref();
    let signed = signed.map(|jwt| signed_tokens(jwt, clock)).transpose()?;
    let file = open_tokens(settings)?;
    tokio::spawn(file.watch(tokens::POLL_INTERVAL));
    Ok(Bearers {
        jwt: signed,
        tokens: Some(file as Arc<dyn StaticTokenDirectory>),
        anonymous: settings.anonymous.clone(),
    })
}

fn of_environment(caller: &LocalCaller) -> EnvironmentIdentity {
    EnvironmentIdentity {
        tenant: caller.tenant.clone(),
        user: caller.user.clone(),
        role: caller.role,
    }
}

/// Where the keys are that verify tokens.
pub(crate) fn jwks_location(settings: &JwtSettings) -> Result<JwksLocation, Error> {
    match &settings.jwks {
        JwksSource::File(path) => Ok(JwksLocation::File(path.clone())),
        JwksSource::Url(url) => url.parse().map_err(|error: InvalidLocation| {
            Error::internal("the address of the keys cannot be used").caused_by(error)
        }),
    }
}

/// How clients that reach the server at `public_url` sign in to it.
///
/// # Errors
/// The address is none.
pub fn sign_in(settings: &SignInSettings, public_url: &str) -> Result<SignIn, Error> {
    let Some(jwt) = &settings.jwt else {
        return Ok(SignIn::by_operator());
    };
    let names_scopes = jwt.claims.scope.is_some();
    let resource = ProtectedResource::new(public_url, jwt.issuers.clone(), names_scopes);
    resource.map(SignIn::by_issuers).map_err(|error| {
        Error::new(ErrorKind::InvalidParameter, error.to_string())
            .fix("Set AGENT_MESH_PUBLIC_URL to the address that clients use.")
    })
}

/// What a token in a message must be like.
fn of_messages(jwt: &JwtSettings) -> TokenSettings {
    TokenSettings {
        algorithms: jwt.algorithms.clone(),
        leeway: jwt.leeway,
        claims: jwt.claims.clone(),
        ..TokenSettings::of_messages(jwt.issuers.clone(), jwt.audiences.clone())
    }
}

fn signed_tokens(jwt: &JwtSettings, clock: &Arc<dyn Clock>) -> Result<SignedTokens, Error> {
    let location = jwks_location(jwt)?;
    Ok(SignedTokens {
        settings: TokenSettings {
            lifetime_max: jwt.bearer_lifetime_max,
            ..of_messages(jwt)
        },
        keys: Arc::new(Jwks::new(location, Arc::clone(clock))),
    })
}

fn open_tokens(settings: &SignInSettings) -> Result<Arc<TokensFile>, Error> {
    let path = &settings.tokens_file;
    TokensFile::open(path).map(Arc::new).map_err(|fault| {
        Error::internal(format!(
            "the file of static tokens {} is wrong",
            path.display()
        ))
        .caused_by(fault)
    })
}
